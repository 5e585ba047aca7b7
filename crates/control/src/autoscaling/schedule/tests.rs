use proptest::prelude::*;
use sagebrush_core::Timestamp;

use super::{Schedule, zone};

const BEGIN: &str = "2026-01-01T00:00:00Z";

fn time(text: &str) -> Timestamp {
    Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

fn text(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0).unwrap().to_string()
}

fn next(schedule: &str, zone_name: &str, after: &str) -> Option<String> {
    let schedule: Schedule = schedule.parse().unwrap();
    let zone = zone(Some(zone_name)).unwrap();
    schedule.next(&zone, time(BEGIN), time(after)).map(text)
}

#[track_caller]
fn check(schedule: &str, zone: &str, after: &str, expected: &[&str]) {
    let mut after = after.to_owned();
    for expected in expected {
        after = next(schedule, zone, &after).expect("it is due again");
        assert_eq!(after, *expected, "{schedule} in {zone}");
    }
}

#[test]
fn crons_of_all_kinds() {
    let after = "2026-01-01T00:00:00Z"; // A Thursday.
    for (cron, expected) in [
        ("0 22 * * ? *", ["2026-01-01T22:00:00Z", "2026-01-02T22:00:00Z"]),
        ("0/15 * * * ? *", ["2026-01-01T00:15:00Z", "2026-01-01T00:30:00Z"]),
        ("15 10 ? * MON-FRI *", ["2026-01-01T10:15:00Z", "2026-01-02T10:15:00Z"]),
        ("0 18 ? * 2-6 *", ["2026-01-01T18:00:00Z", "2026-01-02T18:00:00Z"]),
        ("0 8 1 * ? *", ["2026-01-01T08:00:00Z", "2026-02-01T08:00:00Z"]),
        ("0 0 1,15 JAN,jul ? *", ["2026-01-15T00:00:00Z", "2026-07-01T00:00:00Z"]),
        ("0 9 L * ? *", ["2026-01-31T09:00:00Z", "2026-02-28T09:00:00Z"]),
        ("0 9 LW * ? *", ["2026-01-30T09:00:00Z", "2026-02-27T09:00:00Z"]),
        ("0 9 1W * ? *", ["2026-01-01T09:00:00Z", "2026-02-02T09:00:00Z"]),
        ("0 9 31W * ? *", ["2026-01-30T09:00:00Z", "2026-03-31T09:00:00Z"]),
        ("0 9 ? * 6L *", ["2026-01-30T09:00:00Z", "2026-02-27T09:00:00Z"]),
        ("0 9 ? * L *", ["2026-01-03T09:00:00Z", "2026-01-10T09:00:00Z"]),
        ("0 9 ? * TUE#2 *", ["2026-01-13T09:00:00Z", "2026-02-10T09:00:00Z"]),
        ("0 9 ? * 2#5 *", ["2026-03-30T09:00:00Z", "2026-06-29T09:00:00Z"]),
        ("0 0 29 2 ? *", ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]),
        ("0 0 1 1 ? 2027-2030/3", ["2027-01-01T00:00:00Z", "2030-01-01T00:00:00Z"]),
        ("10-20/5 0 * * ? *", ["2026-01-01T00:10:00Z", "2026-01-01T00:15:00Z"]),
    ] {
        check(&format!("cron({cron})"), "UTC", after, &expected);
    }
    assert_eq!(next("cron(0 0 1 1 ? 2025)", "UTC", after), None);
    assert_eq!(next("cron(0 0 30 2 ? *)", "UTC", after), None);
}

#[test]
fn clocks_put_forward_and_back() {
    // 2026-03-29: 02:00 is 03:00 in Berlin. 2026-10-25: 03:00 is 02:00.
    let berlin = "Europe/Berlin";
    let nightly = "cron(30 2 * * ? *)";
    let spring = ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"];
    check(nightly, berlin, "2026-03-27T12:00:00Z", &spring);
    let autumn = ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"];
    check(nightly, berlin, "2026-10-23T12:00:00Z", &autumn);
    let often = "cron(0/30 * * * ? *)";
    let spring = ["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"];
    check(often, berlin, "2026-03-29T00:00:00Z", &spring);
    let autumn = ["2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z"];
    check(often, berlin, "2026-10-24T23:30:00Z", &autumn);
    check("at(2026-03-29T02:30:00)", berlin, BEGIN, &["2026-03-29T01:00:00Z"]);
    check("at(2026-10-25T02:30:00)", berlin, BEGIN, &["2026-10-25T00:30:00Z"]);
    let morning = ["2026-03-28T07:00:00Z", "2026-03-29T06:00:00Z"];
    check("cron(0 8 * * ? *)", berlin, "2026-03-28T00:00:00Z", &morning);
    // A day that Samoa left out.
    check(
        "cron(0 12 30 12 ? *)",
        "Pacific/Apia",
        "2011-12-29T00:00:00Z",
        &["2011-12-30T10:00:00Z"],
    );
}

#[test]
fn rates_count_from_their_beginning() {
    let five = ["2026-01-01T00:05:00Z", "2026-01-01T00:10:00Z"];
    check("rate(5 minutes)", "UTC", BEGIN, &five);
    check("rate(1 day)", "UTC", "2025-06-01T00:00:00Z", &[BEGIN, "2026-01-02T00:00:00Z"]);
    check("rate(2 hours)", "UTC", "2026-01-01T03:59:00Z", &["2026-01-01T04:00:00Z"]);
}

#[test]
fn what_is_no_schedule() {
    for (text, reason) in [
        ("", "it must be"),
        ("every day", "it must be"),
        ("cron(0 8 * * ? *", "it must be"),
        ("rate(0 minutes)", "1 minute at least"),
        ("rate(5 weeks)", "not a number"),
        ("rate(5)", "not a number"),
        ("at(2026-13-01T00:00:00)", "yyyy-mm-ddThh:mm:ss"),
        ("at(2026-01-01)", "yyyy-mm-ddThh:mm:ss"),
        ("cron(0 8 * * ?)", "5 fields"),
        ("cron(0 8 * * * *)", "must be ?"),
        ("cron(0 8 ? * ? *)", "must be said"),
        ("cron(60 8 * * ? *)", "Minutes"),
        ("cron(0 24 * * ? *)", "Hours"),
        ("cron(0 8 0 * ? *)", "Day-of-month"),
        ("cron(0 8 * 13 ? *)", "Month"),
        ("cron(0 8 ? * 8 *)", "Day-of-week"),
        ("cron(0 8 ? * MON#6 *)", "Day-of-week"),
        ("cron(0 8 * * ? 1969)", "Year"),
        ("cron(5-1 8 * * ? *)", "Minutes"),
        ("cron(0/0 8 * * ? *)", "Minutes"),
        ("cron(, 8 * * ? *)", "Minutes"),
    ] {
        let error = text.parse::<Schedule>().unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
    assert!(zone(Some("Mars/Olympus")).is_err());
}

#[test]
fn the_last_of_many_missed() {
    let latest = |schedule: &str, after: &str, until: &str| {
        let schedule: Schedule = schedule.parse().unwrap();
        let zone = zone(Some("UTC")).unwrap();
        schedule.latest(&zone, time(BEGIN), (time(after), time(until))).map(text)
    };
    let (after, until) = ("2026-01-01T00:00:00Z", "2027-06-01T00:00:30Z");
    for (schedule, expected) in [
        ("cron(* * * * ? *)", "2027-06-01T00:00:00Z"),
        ("cron(0/5 8 * * ? *)", "2027-05-31T08:55:00Z"),
        ("cron(0 0 1 1 ? *)", "2027-01-01T00:00:00Z"),
        ("at(2026-02-01T00:00:00)", "2026-02-01T00:00:00Z"),
        ("rate(1 minute)", "2027-06-01T00:00:00Z"),
    ] {
        assert_eq!(latest(schedule, after, until).as_deref(), Some(expected), "{schedule}");
    }
    assert_eq!(latest("at(2026-02-01T00:00:00)", "2026-02-01T00:00:00Z", until), None);
    assert_eq!(latest("at(2028-02-01T00:00:00)", after, until), None);
}

fn field(last: u16) -> impl Strategy<Value = String> {
    prop_oneof![
        Just("*".to_owned()),
        (0..=last).prop_map(|value| value.to_string()),
        (0..=last, 1..=last).prop_map(|(first, step)| format!("{first}/{step}")),
    ]
}

fn days() -> impl Strategy<Value = (String, String)> {
    let of_month =
        ["*", "1", "31", "L", "LW", "15W", "1W", "31W", "1,15,L", "10-20"].map(str::to_owned);
    let of_week = ["*", "1", "MON-FRI", "L", "6L", "2#1", "SAT#5", "SUN,WED"].map(str::to_owned);
    prop_oneof![
        prop::sample::select(of_month.to_vec()).prop_map(|day| (day, "?".to_owned())),
        prop::sample::select(of_week.to_vec()).prop_map(|day| ("?".to_owned(), day)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_next_time_is_after_now_and_is_the_first(
        (minutes, hours, days) in (field(59), field(23), days()),
        zone_name in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"]),
        after in 1_700_000_000_000_i64..2_000_000_000_000,
    ) {
        let (of_month, of_week) = days;
        let cron = format!("cron({minutes} {hours} {of_month} * {of_week} *)");
        let schedule: Schedule = cron.parse().unwrap();
        let zone = zone(Some(zone_name)).unwrap();
        let next = schedule.next(&zone, Timestamp(0), Timestamp(after));
        let next = next.expect("these all come again");
        prop_assert!(next.0 > after);
        let between = Timestamp(after + (next.0 - after) / 2);
        prop_assert_eq!(schedule.next(&zone, Timestamp(0), between), Some(next));
        prop_assert_eq!(schedule.latest(&zone, Timestamp(0), (Timestamp(after), next)), Some(next));
    }

    #[test]
    fn no_text_makes_it_panic(text in "(cron|at|rate)?\\(?[0-9*?/,#LW A-Z-]{0,40}\\)?", after: i64) {
        if let Ok(schedule) = text.parse::<Schedule>() {
            let zone = zone(Some("America/New_York")).unwrap();
            let next = schedule.next(&zone, Timestamp(0), Timestamp(after));
            prop_assert!(next.is_none_or(|next| next.0 > after));
        }
    }
}
