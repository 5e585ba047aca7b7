use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sagebrush_core::Timestamp;
use sagebrush_core::clock::FakeClock;
use sagebrush_core::cloudwatch::{MetricQuery, Metrics as _, Statistic};
use sagebrush_core::sketch::Sketch;

use super::*;

const DAY: i64 = 24 * 3600;
/// Midnight of some day.
const START: i64 = 20_000 * DAY;

/// A store whose time the test moves, and whose threads are the test.
struct Kept {
    dir: tempfile::TempDir,
    clock: Arc<FakeClock>,
    registry: Registry,
    limits: Limits,
    store: Arc<MetricStore>,
}

impl Kept {
    fn new(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(FakeClock::at(Timestamp(START * 1000)));
        let registry = Registry::default();
        let store = MetricStore::open(dir.path(), clock.clone(), limits.clone(), &registry);
        Self { dir, clock, registry, limits, store: store.unwrap() }
    }

    fn now(&self) -> i64 {
        seconds(&*self.clock)
    }

    fn wait(&self, seconds: i64) {
        self.clock.advance(Duration::from_secs(seconds.unsigned_abs()));
    }

    fn put(&self, name: &str, at: i64, value: f64) {
        self.put_fine(name, at, value, false);
    }

    fn put_fine(&self, name: &str, at: i64, value: f64, high_resolution: bool) {
        let datum = MetricDatum {
            metric: metric(name),
            unit: "Count".into(),
            at: Timestamp(at * 1000),
            values: Sketch::of(value),
            high_resolution,
        };
        self.store.put(&region(), vec![datum]);
    }

    fn beat(&self) {
        self.store.beat();
        self.store.tidy();
    }

    /// Comes back on the same files, without the chance to write anything before.
    fn crash(&mut self) {
        let copy = tempfile::tempdir().unwrap();
        for path in files(self.dir.path()) {
            fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
        self.dir = copy;
        let (clock, limits) = (self.clock.clone(), self.limits.clone());
        self.store = MetricStore::open(self.dir.path(), clock, limits, &self.registry).unwrap();
    }

    /// The sums of the periods from the start on.
    fn sums(&self, name: &str, period: i64) -> Vec<(i64, f64)> {
        let query = MetricQuery {
            metric: metric(name),
            unit: None,
            from: Timestamp(START * 1000),
            to: Timestamp((self.now() + 3600) * 1000),
            period: Duration::from_secs(period.unsigned_abs()),
            statistic: Statistic::Sum,
        };
        let points = self.store.read(&region(), &query);
        points.iter().map(|point| (point.at.0 / 1000 - START, point.value)).collect()
    }

    fn n_files(&self, prefix: &str) -> usize {
        let starts =
            |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(prefix);
        files(self.dir.path()).iter().filter(|path| starts(path)).count()
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn region() -> Region {
    Region::new("eu-west-1")
}

fn metric(name: &str) -> MetricId {
    MetricId::new("N", name, [("D".into(), "1".into())])
}

#[test]
fn what_is_written_down_outlives_a_crash_and_counts_once() {
    let mut kept = Kept::new(Limits::default());
    kept.put("m", START, 1.0);
    kept.put("m", START + 61, 2.0);
    kept.beat();
    kept.crash();
    assert_eq!(kept.sums("m", 60), [(0, 1.0), (60, 2.0)]);
    kept.put("m", START, 4.0);
    kept.put("n", START, 8.0);
    assert_eq!(kept.sums("m", 300), [(0, 7.0)]);
    kept.store.flush();
    kept.put("m", START, 16.0); // Too late for the file.
    kept.crash();
    assert_eq!((kept.sums("m", 300), kept.sums("n", 300)), (vec![(0, 7.0)], vec![(0, 8.0)]));
    kept.wait(700);
    kept.beat(); // Turns into a block.
    assert_eq!((kept.n_files("block-0"), kept.n_files("journal-")), (1, 0));
    assert_eq!(kept.sums("m", 300), [(0, 7.0)]);
    kept.put("m", START, 32.0);
    assert_eq!(kept.sums("m", 300), [(0, 39.0)]);
    kept.beat();
    kept.crash();
    assert_eq!(kept.sums("m", 300), [(0, 39.0)]);
}

#[test]
fn a_crash_at_any_step_of_sealing_and_merging_loses_and_doubles_nothing() {
    let mut kept = Kept::new(Limits::default());
    for step in 0..i64::try_from(merge::FAN).unwrap() {
        kept.put("m", START + step * 600, 1.0);
        kept.store.beat();
        kept.wait(600);
        let journal = files(kept.dir.path());
        let journals: Vec<_> = journal
            .iter()
            .filter(|path| path.to_str().unwrap().contains("journal-"))
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect();
        kept.store.beat();
        // The block was there, its journals were not yet removed.
        journals.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
        kept.crash();
        assert_eq!(kept.sums("m", 600).len(), usize::try_from(step).unwrap() + 1);
        assert!(kept.sums("m", 600).iter().all(|(_, sum)| *sum == 1.0));
    }
    assert_eq!(kept.n_files("block-0"), merge::FAN);
    let parts: Vec<_> =
        files(kept.dir.path()).into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect();
    kept.store.tidy();
    assert_eq!((kept.n_files("block-0"), kept.n_files("block-1")), (0, 1));
    let before = kept.sums("m", 600);
    // The merged block was there, its parts were not yet removed.
    parts.iter().for_each(|(bytes, path)| fs::write(path, bytes).unwrap());
    fs::write(kept.dir.path().join("merging.new"), "half of one").unwrap();
    kept.crash();
    assert_eq!(kept.sums("m", 600), before);
    assert_eq!((kept.n_files("block-0"), kept.n_files("merging")), (0, 0));
}

#[test]
fn what_a_crash_has_torn_is_dropped() {
    let mut kept = Kept::new(Limits::default());
    kept.put("m", START, 1.0);
    kept.store.flush();
    kept.put("m", START, 2.0);
    kept.store.flush();
    let journal = files(kept.dir.path());
    let journal = journal.iter().find(|path| path.to_str().unwrap().contains("journal-"));
    let bytes = fs::read(journal.unwrap()).unwrap();
    fs::write(journal.unwrap(), &bytes[..bytes.len() - 1]).unwrap();
    kept.crash();
    assert_eq!(kept.sums("m", 60), [(0, 1.0)]);
}

#[test]
fn slots_become_wider_and_go() {
    let mut kept = Kept::new(Limits::default());
    kept.put_fine("m", START, 1.0, true);
    kept.put_fine("m", START + 1, 2.0, true);
    kept.put("m", START + 600, 4.0);
    let check = |kept: &mut Kept, after: i64, period: i64, expected: &[(i64, f64)]| {
        kept.wait(after - (kept.now() - START));
        assert_eq!(kept.sums("m", period), expected, "{after} {period}");
        kept.beat();
        assert_eq!(kept.sums("m", period), expected, "{after} {period}, tidied");
        kept.crash();
        assert_eq!(kept.sums("m", period), expected, "{after} {period}, after a crash");
    };
    let minutes = [(0, 3.0), (600, 4.0)];
    check(&mut kept, 0, 1, &[(0, 1.0), (1, 2.0)]);
    check(&mut kept, 3 * 3600, 1, &[(1, 2.0)]);
    check(&mut kept, 3 * 3600 + 1, 1, &[]);
    check(&mut kept, 3 * 3600 + 2, 60, &minutes);
    check(&mut kept, 15 * DAY + 600, 60, &[]);
    check(&mut kept, 15 * DAY + 601, 300, &minutes);
    check(&mut kept, 63 * DAY + 600, 300, &[]);
    check(&mut kept, 63 * DAY + 601, 3600, &[(0, 7.0)]);
    check(&mut kept, 455 * DAY - 1, 3600, &[(0, 7.0)]);
    check(&mut kept, 455 * DAY, 3600, &[]);
    assert_eq!(kept.n_files("block-"), 0);
    let mut n_listed = 0;
    kept.store.list(&region(), None, |_, _| {
        n_listed += 1;
        true
    });
    assert_eq!(n_listed, 0, "the name goes with the last value");
}

#[test]
fn there_is_room_for_so_many_series_and_bytes() {
    let kept = Kept::new(Limits { series: 2, ..Limits::default() });
    ["a", "b", "c", "a"].iter().for_each(|name| kept.put(name, START, 1.0));
    assert_eq!(kept.sums("a", 60), [(0, 2.0)]);
    assert!(kept.sums("c", 60).is_empty());
    assert!(kept.registry.render().contains("dropped_total{reason=\"series\"} 1"));
    let kept = Kept::new(Limits { bytes: 2600, ..Limits::default() });
    (0..100).for_each(|minute| kept.put("a", START - minute * 60, 1.0));
    assert!(kept.registry.render().contains("dropped_total{reason=\"memory\"} 90"));
    kept.beat();
    assert_eq!(kept.n_files("block-0"), 1, "written before its time");
    kept.put("a", START, 1.0);
    assert_eq!(kept.sums("a", 60), [(0, 2.0)]);
}

#[test]
fn a_disk_that_does_not_write_costs_nothing_but_what_has_no_room() {
    let mut kept = Kept::new(Limits::default());
    kept.put("m", START, 1.0);
    kept.beat();
    let away = kept.dir.path().with_extension("away");
    fs::rename(kept.dir.path(), &away).unwrap();
    kept.put("m", START, 2.0);
    kept.wait(600);
    kept.beat();
    assert!(kept.registry.render().contains("sagebrush_metrics_failed_writes_total 1"));
    kept.put("m", START + 600, 4.0);
    assert_eq!(kept.sums("m", 600), [(0, 3.0), (600, 4.0)]);
    fs::rename(&away, kept.dir.path()).unwrap();
    kept.beat();
    assert_eq!(kept.n_files("block-0"), 1);
    kept.crash();
    assert_eq!(kept.sums("m", 600), [(0, 3.0), (600, 4.0)]);
}

#[test]
fn percentiles_are_right_to_one_percent_after_all_of_it() {
    let mut kept = Kept::new(Limits::default());
    for step in 0..3600_i32 {
        kept.put("m", START + i64::from(step), f64::from(step) + 1.0);
    }
    kept.wait(3600);
    kept.beat();
    kept.crash();
    let selection = Selection {
        metric: &metric("m"),
        unit: Some("Count"),
        times: START..START + 3600,
        period: 3600,
        origin: START,
    };
    let found = kept.store.select(&region(), &selection);
    for (percent, expected) in [(50.0, 1800.0), (99.0, 3564.0)] {
        let value = Statistic::Percentile(percent).of(&found[&START]).unwrap();
        assert!((value - expected).abs() <= 0.01 * expected, "{value}");
    }
}

/// Puts values into 10,000 metrics each minute, each time in ten bins; `look` sees the store after
/// each minute.
fn feed(kept: &Kept, n_minutes: i64, mut look: impl FnMut(i64)) {
    let mut values = Sketch::default();
    (1..=10).for_each(|value| values.add(f64::from(value), 3.0));
    let series: Vec<_> = (0..10_000).map(|i| metric(&format!("m{i}"))).collect();
    let datum = |metric: &MetricId| MetricDatum {
        metric: metric.clone(),
        unit: "Count".into(),
        at: Timestamp(kept.now() * 1000),
        values: values.clone(),
        high_resolution: false,
    };
    for minute in 1..=n_minutes {
        kept.store.put(&region(), series.iter().map(datum).collect());
        look(minute);
        kept.wait(60);
        kept.beat();
    }
    let rendered = kept.registry.render();
    assert!(rendered.contains("dropped_total{reason=\"memory\"} 0"), "{rendered}");
}

#[test]
fn memory_stays_flat_with_ten_thousand_metrics() {
    let kept = Kept::new(Limits { window: Duration::from_mins(2), ..Limits::default() });
    let mut held = Vec::new();
    feed(&kept, 9, |_| held.push(kept.store.lock().head.bytes));
    assert_eq!(held[2..4], held[6..8], "{held:?}");
    assert_eq!(kept.sums("m77", 3600), [(0, 9.0 * 165.0)]);
}

/// What the whole process takes, to be looked at: `--run-ignored all --no-capture`.
#[test]
#[ignore = "takes minutes"]
fn what_ten_thousand_metrics_take() {
    let kept = Kept::new(Limits::default());
    feed(&kept, 180, |minute| {
        if minute % 10 == 0 {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let resident = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
            let n_blocks = kept.store.lock().blocks.len();
            println!("minute {minute}: {resident}, {n_blocks} blocks");
        }
    });
    let bytes: u64 = files(kept.dir.path()).iter().map(|it| it.metadata().unwrap().len()).sum();
    println!("{bytes} bytes on the disk");
}
