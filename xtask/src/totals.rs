//! How many tests passed and failed, read off the closing lines of the runners.

use std::fmt;
use std::ops::AddAssign;
use std::process::ExitStatus;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Totals {
    /// Reads a line of nextest, `cargo test` or pytest; nothing if it is no closing line.
    pub(crate) fn read(line: &str) -> Option<Self> {
        let line = line.trim();
        let of_nextest = line.starts_with("Summary [");
        let of_cargo = line.starts_with("test result:");
        let bare = line.trim_matches(|c| c == '=' || c == ' ');
        let starts_with_count = bare.starts_with(|c: char| c.is_ascii_digit());
        let of_pytest = starts_with_count && bare.contains(" in ") && bare.contains('s');
        if !(of_nextest || of_cargo || of_pytest) {
            return None;
        }
        let words: Vec<&str> = bare.split([' ', ',', ';', ':']).filter(|w| !w.is_empty()).collect();
        let mut totals = Self::default();
        let mut counted = false;
        for pair in words.windows(2) {
            let Ok(n) = pair[0].parse::<u64>() else { continue };
            match pair[1] {
                "passed" => totals.passed += n,
                "failed" | "error" | "errors" | "timed" | "exec" => totals.failed += n,
                "run" | "skipped" | "ignored" | "deselected" => {}
                _ => continue,
            }
            counted = true;
        }
        counted.then_some(totals)
    }

    /// What a runner says if it can be believed: one that failed without a failed test failed once.
    pub(crate) fn with_status(mut self, status: ExitStatus) -> Self {
        if !status.success() && self.failed == 0 {
            self.failed = 1;
        }
        self
    }

    pub(crate) fn all_passed(self) -> bool {
        self.failed == 0 && self.passed > 0
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::Totals;

    fn check(line: &str, wanted: Option<(u64, u64)>) {
        let wanted = wanted.map(|(passed, failed)| Totals { passed, failed });
        assert_eq!(Totals::read(line), wanted, "{line}");
    }

    #[test]
    fn reads_the_closing_lines_of_each_runner() {
        check("     Summary [   0.012s] 12 tests run: 12 passed, 0 skipped", Some((12, 0)));
        check(
            "     Summary [   1.2s] 9 tests run: 7 passed (1 slow), 2 failed, 3 skipped",
            Some((7, 2)),
        );
        check("     Summary [  60.1s] 3 tests run: 2 passed, 1 timed out, 0 skipped", Some((2, 1)));
        check(
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out",
            Some((3, 0)),
        );
        check("test result: FAILED. 3 passed; 2 failed; 0 ignored", Some((3, 2)));
        check("==== 2 failed, 30 passed, 1 skipped, 1 error in 12.34s ====", Some((30, 3)));
        check("5 passed in 0.10s", Some((5, 0)));
        check("1 skipped in 0.02s", Some((0, 0)));
    }

    #[test]
    fn passes_over_other_lines() {
        check("running 3 tests", None);
        check("test a ... ok", None);
        check("FAILED test_s3.py::test_a - assert 2 == 3", None);
        check("", None);
        check("12 files written in 3 s", None);
    }
}
