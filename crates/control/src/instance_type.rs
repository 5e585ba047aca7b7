//! What an instance type gives a container: cores and memory, by AWS's own numbers.

use sagebrush_core::worker::Resources;

/// For a variant without an instance type and for types that are not known: as `ml.m5.large`.
const DEFAULT: Resources = Resources { cpus: 2, memory_bytes: 8 << 30, concurrency: None };

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Types that do not follow the rule of their family: cores, and memory in GiB.
const EXCEPTIONS: &[(&str, usize, u64)] = &[
    ("t2.medium", 2, 4),
    ("t3.medium", 2, 4),
    ("t3.large", 2, 8),
    ("c4.8xlarge", 36, 60),
    ("c5n.9xlarge", 36, 96),
    ("c5n.18xlarge", 72, 192),
    ("p2.xlarge", 4, 61),
    ("p2.8xlarge", 32, 488),
    ("p2.16xlarge", 64, 732),
    ("p3.2xlarge", 8, 61),
    ("p3.8xlarge", 32, 244),
    ("p3.16xlarge", 64, 488),
    ("p3dn.24xlarge", 96, 768),
    ("p4d.24xlarge", 96, 1152),
    ("p4de.24xlarge", 96, 1152),
    ("p5.4xlarge", 16, 256),
    ("p5.48xlarge", 192, 2048),
    ("p5e.48xlarge", 192, 2048),
    ("p5en.48xlarge", 192, 2048),
];

/// The cores and the memory of `instance_type`, as in `ml.m5.xlarge`.
#[must_use]
pub(crate) fn resources(instance_type: Option<&str>) -> Resources {
    instance_type.and_then(known).unwrap_or(DEFAULT)
}

fn known(instance_type: &str) -> Option<Resources> {
    let name = instance_type.strip_prefix("ml.").unwrap_or(instance_type);
    if let Some((_, cpus, gib)) = EXCEPTIONS.iter().find(|(exception, ..)| *exception == name) {
        return Some(Resources { cpus: *cpus, memory_bytes: gib * GIB, concurrency: None });
    }
    let (family, size) = name.split_once('.')?;
    let (cpus, per_cpu) = (cpus(size)?, memory_per_cpu(family)?);
    let memory_bytes = u64::try_from(cpus).ok()? * per_cpu;
    Some(Resources { cpus, memory_bytes, concurrency: None })
}

/// A size doubles the one before: `xlarge` has 4 cores, and `12xlarge` 12 times as many.
fn cpus(size: &str) -> Option<usize> {
    match size {
        "medium" => Some(1),
        "large" => Some(2),
        "xlarge" => Some(4),
        _ => {
            let factor: usize = size.strip_suffix("xlarge")?.parse().ok()?;
            (1..=48).contains(&factor).then_some(factor * 4)
        }
    }
}

/// The memory of a family for each of its cores.
fn memory_per_cpu(family: &str) -> Option<u64> {
    match family {
        "c4" => return Some(1920 * MIB),  // 3.75 GiB for 2.
        "c5n" => return Some(2688 * MIB), // 5.25 GiB for 2.
        "r4" => return Some(7808 * MIB),  // 15.25 GiB for 2.
        "g6e" => return Some(8 * GIB),
        "inf1" => return Some(2 * GIB),
        "g4dn" | "g5" | "g6" | "inf2" | "t2" | "t3" | "trn1" | "trn1n" => return Some(4 * GIB),
        _ => {}
    }
    let mut chars = family.chars();
    let gib = match chars.next()? {
        'c' => 2,
        'm' => 4,
        'r' => 8,
        _ => return None,
    };
    chars.next()?.is_ascii_digit().then_some(gib * GIB)
}

#[cfg(test)]
mod tests {
    use super::{DEFAULT, resources};

    #[test]
    fn cores_and_memory() {
        for (instance_type, cpus, mib) in [
            ("ml.t2.medium", 2, 4 << 10),
            ("ml.t2.large", 2, 8 << 10),
            ("ml.t2.2xlarge", 8, 32 << 10),
            ("ml.t3.medium", 2, 4 << 10),
            ("ml.t3.xlarge", 4, 16 << 10),
            ("ml.m4.10xlarge", 40, 160 << 10),
            ("ml.m5.large", 2, 8 << 10),
            ("ml.m5d.24xlarge", 96, 384 << 10),
            ("ml.m6i.32xlarge", 128, 512 << 10),
            ("ml.m6g.4xlarge", 16, 64 << 10),
            ("ml.m7i.48xlarge", 192, 768 << 10),
            ("ml.c4.large", 2, 3840),
            ("ml.c4.8xlarge", 36, 60 << 10),
            ("ml.c5.9xlarge", 36, 72 << 10),
            ("ml.c5d.18xlarge", 72, 144 << 10),
            ("ml.c5n.18xlarge", 72, 192 << 10),
            ("ml.c6i.xlarge", 4, 8 << 10),
            ("ml.r5.12xlarge", 48, 384 << 10),
            ("ml.r6i.large", 2, 16 << 10),
            ("ml.p2.xlarge", 4, 61 << 10),
            ("ml.p3.2xlarge", 8, 61 << 10),
            ("ml.p4d.24xlarge", 96, 1152 << 10),
            ("ml.p5.48xlarge", 192, 2048 << 10),
            ("ml.g4dn.xlarge", 4, 16 << 10),
            ("ml.g5.48xlarge", 192, 768 << 10),
            ("ml.g6.2xlarge", 8, 32 << 10),
            ("ml.g6e.xlarge", 4, 32 << 10),
            ("ml.inf1.24xlarge", 96, 192 << 10),
            ("ml.inf2.48xlarge", 192, 768 << 10),
        ] {
            let given = resources(Some(instance_type));
            assert_eq!((given.cpus, given.memory_bytes), (cpus, mib << 20), "{instance_type}");
        }
    }

    #[test]
    fn what_is_not_known_gets_the_default() {
        for unknown in ["", "local", "ml.u9.metal", "ml.m5.0xlarge", "ml.m5.999xlarge", "ml.x.y"] {
            assert_eq!(resources(Some(unknown)), DEFAULT, "{unknown}");
        }
        assert_eq!(resources(None), DEFAULT);
    }
}
