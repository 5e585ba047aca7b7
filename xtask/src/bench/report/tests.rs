//! The whole report of a made-up run, to the letter.

use std::time::Duration;

use super::{About, Absent, Report, Section};
use crate::bench::figures::{Line, Saturated, Steady};
use crate::bench::many::Many;
use crate::bench::overload::Overload;
use crate::bench::side::Side;
use crate::bench::workload::Kind;

fn line(side: &'static str, per_second: f64, steady: f64, wrong: u64) -> Line {
    Line {
        side,
        saturated: Saturated {
            per_second,
            cpu_per_thousand: 1000.0 / per_second,
            own_cpu_per_thousand: 0.011,
            errors: wrong,
            wrong,
        },
        steady: Steady {
            per_second: steady,
            p50_millis: 0.1,
            p99_millis: 1.5,
            errors: 2,
            wrong: 0,
        },
        memory: 60 << 20,
        cold_start: Duration::from_millis(250),
    }
}

fn report(wrong: u64) -> Report {
    let overload = Overload {
        side: "sagebrush",
        best: 400.0,
        offered: 1200.0,
        goodput: 390.0,
        p50_millis: 80.0,
        p99_millis: 120.0,
        refused: 16_200,
        well_refused: 16_200,
        refusal_p99_millis: 1.25,
        broken: 0,
        hung: 0,
        unsent: 0,
        wrong: 0,
        recovery: Some(Duration::from_millis(120)),
    };
    Report {
        about: About {
            date: "2026-01-02".to_owned(),
            cores: 2,
            cpu: "A CPU".to_owned(),
            kernel: "6.1".to_owned(),
            load: 0.25,
            versions: vec![("sagebrush".to_owned(), "0.1.0".to_owned())],
            rounds: 3,
            seconds: 6,
        },
        idle_memory: 20 << 20,
        sections: vec![Section {
            title: "Tabular row",
            lines: vec![
                line("sagebrush", 30_000.0, 15_000.0, wrong),
                line("limit", 32_000.0, 15_000.0, 0),
                line("FastAPI", 6_000.0, 3_000.0, 0),
            ],
            cold_starts: [90, 60, 70, 50].map(Duration::from_millis).to_vec(),
        }],
        many: Some(Many {
            models: 200,
            room: 50,
            per_second: 900.0,
            cpu_per_thousand: 1.5,
            p50_millis: 0.4,
            p99_millis: 60.0,
            hits: 0.8,
            loads_per_second: 30.0,
            memory: 500 << 20,
            errors: 0,
            wrong: 0,
        }),
        overload: Some(vec![
            overload.clone(),
            Overload {
                side: "FastAPI",
                goodput: 100.0,
                refused: 0,
                well_refused: 0,
                refusal_p99_millis: f64::NAN,
                hung: 900,
                recovery: None,
                ..overload
            },
        ]),
        absent: vec![Absent::new(
            Side::BentoMl,
            Some(Kind::Echo),
            &anyhow::anyhow!("it ended; see /home/me/a.log for more\nTraceback"),
        )],
    }
}

#[test]
fn golden() {
    // The method is prose: the golden text has its place only.
    let rendered = report(0).render().replace(super::METHOD, "METHOD\n");
    assert_eq!(rendered, include_str!("golden.md"), "it is to be:\n{rendered}");
}

#[test]
fn wrong_answers_are_counted() {
    assert_eq!((report(0).wrong_answers(), report(7).wrong_answers()), (0, 7));
}
