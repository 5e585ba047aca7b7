//! A `FailureReason`, as long as it may be.

/// SageMaker API: a `FailureReason` has at most 1024 characters.
const LONGEST_REASON: usize = 1024;

/// How much of its beginning a reason keeps that is too long; the rest is its end, for what a
/// log says last says most.
const REASON_HEAD: usize = 320;

/// A reason as it fits into a `FailureReason`.
pub(crate) fn shortened(reason: &str) -> String {
    const GAP: &str = "\n[..]\n";
    let n_chars = reason.chars().count();
    if n_chars <= LONGEST_REASON {
        return reason.to_owned();
    }
    let head: String = reason.chars().take(REASON_HEAD).collect();
    let n_tail = LONGEST_REASON - REASON_HEAD - GAP.len();
    let tail: String = reason.chars().skip(n_chars - n_tail).collect();
    // Whole lines, where they are not too long for that.
    let begin = tail.find('\n').filter(|at| *at < n_tail / 2).map_or(0, |at| at + 1);
    format!("{}{GAP}{}", head.trim_end(), tail.get(begin..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::shortened;

    #[test]
    fn a_reason_keeps_its_beginning_and_its_end() {
        assert_eq!(shortened("no room"), "no room");
        let exact = "ä".repeat(1024);
        assert_eq!(shortened(&exact), exact);
        let log: String = (0..200).map(|n| format!("line {n} of the log\n")).collect();
        let short = shortened(&format!("The worker did not start:\n{log}ImportError: no x"));
        assert!(short.chars().count() <= 1024);
        assert!(short.starts_with("The worker did not start:\nline 0 of the log\n"), "{short}");
        assert!(short.contains("\n[..]\nline "), "{short}");
        assert!(short.ends_with("line 199 of the log\nImportError: no x"), "{short}");
        assert_eq!(shortened(&"ä".repeat(5000)).chars().count(), 1024);
    }
}
