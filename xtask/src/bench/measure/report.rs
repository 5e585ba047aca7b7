//! The table.

use super::Measured;

pub(super) struct Row {
    pub(super) workload: &'static str,
    pub(super) measured: Measured,
}

pub(super) fn print(served: &[Row], bare: &[Row]) {
    println!();
    println!(
        "{:<34} {:<10} {:>7} {:>9} {:>9} {:>9} {:>14}",
        "workload", "side", "calls", "calls/s", "p50 ms", "p99 ms", "CPU s/1,000"
    );
    for (served, bare) in served.iter().zip(bare) {
        line(served.workload, "server", &served.measured);
        line("", "in process", &bare.measured);
        let (served, bare) = (&served.measured, &bare.measured);
        println!(
            "{:<34} {:<10} {:>7} {:>8.2}x {:>9} {:>9} {:>13.2}x",
            "",
            "ratio",
            "",
            served.rate() / bare.rate(),
            "",
            "",
            served.cpu_per_thousand() / bare.cpu_per_thousand(),
        );
    }
    println!(
        "\nThe load generator has the same cores as the server; judge by CPU time on a shared machine."
    );
}

fn line(workload: &str, side: &str, measured: &Measured) {
    println!(
        "{workload:<34} {side:<10} {:>7} {:>9.0} {:>9.3} {:>9.3} {:>14.3}",
        measured.calls,
        measured.rate(),
        measured.millis_at(0.5),
        measured.millis_at(0.99),
        measured.cpu_per_thousand(),
    );
}

#[expect(clippy::cast_precision_loss, reason = "counts and times far below 2^52")]
impl Measured {
    fn rate(&self) -> f64 {
        self.calls as f64 / self.took.as_secs_f64()
    }

    fn millis_at(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64 / 1000.0
    }

    fn cpu_per_thousand(&self) -> f64 {
        self.cpu.as_secs_f64() * 1000.0 / self.calls as f64
    }
}
