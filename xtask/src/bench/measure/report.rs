//! The table.

use std::time::Duration;

use super::Measured;
use super::workload::Workload;

/// One workload on our side and on the others'.
pub(super) struct Row {
    pub(super) workload: Workload,
    pub(super) ours: Measured,
    pub(super) others: Vec<(&'static str, Measured)>,
}

pub(super) fn print(rows: &[Row]) {
    println!();
    println!(
        "{:<34} {:<20} {:>7} {:>9} {:>9} {:>9} {:>14}",
        "workload", "side", "calls", "calls/s", "p50 ms", "p99 ms", "CPU s/1,000"
    );
    for row in rows {
        line(&row.workload.name, "server", &row.ours);
        for (side, other) in &row.others {
            line("", side, other);
            ratio(side, &row.ours, other);
        }
    }
    println!(
        "\nThe load generator has the same cores as the server; judge by CPU time on a shared machine. \
         A ratio is the server's number by the other's. Only calls to the server are signed."
    );
}

pub(super) fn print_cold_start(took: &[Duration]) {
    let Some((first, next)) = took.split_first() else { return };
    let mut next = next.to_vec();
    next.sort_unstable();
    print!(
        "\nFrom CreateEndpoint to the first answer, numpy imported: {:.3} s",
        first.as_secs_f64()
    );
    match next.get(next.len() / 2) {
        Some(median) => println!(", then {:.3} s (median of {})", median.as_secs_f64(), next.len()),
        None => println!(),
    }
}

fn line(workload: &str, side: &str, measured: &Measured) {
    println!(
        "{workload:<34} {side:<20} {:>7} {:>9.0} {:>9.3} {:>9.3} {:>14.3}",
        measured.calls,
        measured.rate(),
        measured.millis_at(0.5),
        measured.millis_at(0.99),
        measured.cpu_per_thousand(),
    );
}

fn ratio(side: &str, ours: &Measured, other: &Measured) {
    println!(
        "{:<34} {:<20} {:>7} {:>8.2}x {:>8.2}x {:>8.2}x {:>13.2}x",
        "",
        format!("  by {side}").chars().take(20).collect::<String>(),
        "",
        ours.rate() / other.rate(),
        ours.millis_at(0.5) / other.millis_at(0.5),
        ours.millis_at(0.99) / other.millis_at(0.99),
        ours.cpu_per_thousand() / other.cpu_per_thousand(),
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
