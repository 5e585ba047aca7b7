//! `cron(Minutes Hours Day-of-month Month Day-of-week Year)`, as AWS writes it.

use jiff::Timestamp as Moment;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use super::resolve;

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// AWS: years are 1970 to 2199.
const FIRST_YEAR: u16 = 1970;
const LAST_YEAR: u16 = 2199;

/// Values are sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cron {
    minutes: Vec<u16>,
    hours: Vec<u16>,
    /// A day that fits one of them fits.
    days: Vec<Day>,
    months: Vec<u16>,
    /// `None`: every year.
    years: Option<Vec<u16>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Day {
    OfMonth(Vec<u16>),
    /// `L`
    Last,
    /// `15W`: the weekday nearest to it, in the same month.
    WeekdayNearest(u16),
    /// `LW`
    LastWeekday,
    /// 1 is Sunday.
    OfWeek(Vec<u16>),
    /// `6L`: the last Friday of the month.
    LastOfWeek(u16),
    /// `6#3`: the third Friday of the month.
    NthOfWeek(u16, u16),
}

impl Cron {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, day_of_month, months, day_of_week, years] = fields[..] else {
            return Err(format!("it has {} fields, not 6", fields.len()));
        };
        Ok(Self {
            minutes: Field::new("Minutes", 0, 59).values(minutes)?,
            hours: Field::new("Hours", 0, 23).values(hours)?,
            days: days(day_of_month, day_of_week)?,
            months: Field::named("Month", 1, &MONTHS).values(months)?,
            years: match years {
                "*" => None,
                years => Some(Field::new("Year", FIRST_YEAR, LAST_YEAR).values(years)?),
            },
        })
    }

    pub(super) fn next(&self, zone: &TimeZone, after: Moment) -> Option<Moment> {
        let now = zone.to_datetime(after);
        let earliest = |date: Date| if date == now.date() { now.time() } else { Time::MIN };
        self.dates(now.date()).find_map(|date| {
            let times = self.times().filter(|time| *time >= earliest(date));
            let mut moments = times.filter_map(|time| resolve(date.to_datetime(time), zone));
            moments.find(|moment| *moment > after)
        })
    }

    /// The days that fit, from `first` on.
    fn dates(&self, first: Date) -> impl Iterator<Item = Date> {
        let years = self.years.as_deref();
        let last = years.map_or(LAST_YEAR, |years| years.last().copied().unwrap_or_default());
        let days = std::iter::successors(Some(first), |date| date.tomorrow().ok());
        days.take_while(move |date| date.year().cast_unsigned() <= last)
            .filter(|date| self.fits(*date))
    }

    fn fits(&self, date: Date) -> bool {
        let has = |values: &[u16], value: u16| values.binary_search(&value).is_ok();
        self.years.as_ref().is_none_or(|years| has(years, date.year().cast_unsigned()))
            && has(&self.months, small(date.month()))
            && self.days.iter().any(|day| day.fits(date))
    }

    fn times(&self) -> impl Iterator<Item = Time> {
        self.hours.iter().flat_map(|hour| {
            let time = |minute: &u16| {
                let (hour, minute) = (i8::try_from(*hour).ok()?, i8::try_from(*minute).ok()?);
                Time::new(hour, minute, 0, 0).ok()
            };
            self.minutes.iter().filter_map(time)
        })
    }
}

impl Day {
    fn fits(&self, date: Date) -> bool {
        let (day, last) = (small(date.day()), small(date.days_in_month()));
        let weekday = weekday(date);
        match self {
            Self::OfMonth(days) => days.contains(&day),
            Self::Last => day == last,
            Self::WeekdayNearest(wanted) => {
                *wanted <= last && day == nearest_weekday(date, *wanted, last)
            }
            Self::LastWeekday => day == nearest_weekday(date, last, last),
            Self::OfWeek(days) => days.contains(&weekday),
            Self::LastOfWeek(wanted) => weekday == *wanted && day + 7 > last,
            Self::NthOfWeek(wanted, n) => weekday == *wanted && day.div_ceil(7) == *n,
        }
    }
}

/// 1 is Sunday.
fn weekday(date: Date) -> u16 {
    small(date.weekday().to_sunday_zero_offset()) + 1
}

/// The day from Monday to Friday that is nearest to day `wanted` of the month of `date`.
fn nearest_weekday(date: Date, wanted: u16, last: u16) -> u16 {
    // Weeks repeat: the weekday of `wanted` is told from that of `date`.
    let weekday = (weekday(date) - 1 + wanted + 35 - small(date.day())) % 7 + 1;
    match weekday {
        7 if wanted == 1 => 3,
        7 => wanted - 1,
        1 if wanted == last => wanted - 2,
        1 => wanted + 1,
        _ => wanted,
    }
}

fn small(value: i8) -> u16 {
    u16::from(value.unsigned_abs())
}

fn days(of_month: &str, of_week: &str) -> Result<Vec<Day>, String> {
    match (of_month, of_week) {
        ("?", "?") | ("", _) | (_, "") => Err("one of the two days must be said".to_owned()),
        (of_month, "?") => of_month.split(',').map(day_of_month).collect(),
        ("?", of_week) => of_week.split(',').map(day_of_week).collect(),
        (_, _) => Err("either Day-of-month or Day-of-week must be ?".to_owned()),
    }
}

fn day_of_month(text: &str) -> Result<Day, String> {
    let field = Field::new("Day-of-month", 1, 31);
    match text.strip_suffix(['W', 'w']) {
        _ if text.eq_ignore_ascii_case("L") => Ok(Day::Last),
        _ if text.eq_ignore_ascii_case("LW") => Ok(Day::LastWeekday),
        Some(day) => Ok(Day::WeekdayNearest(field.value(day)?)),
        None => Ok(Day::OfMonth(field.values(text)?)),
    }
}

fn day_of_week(text: &str) -> Result<Day, String> {
    let field = Field::named("Day-of-week", 1, &WEEKDAYS);
    if text.eq_ignore_ascii_case("L") {
        return Ok(Day::OfWeek(vec![7]));
    }
    if let Some((day, n)) = text.split_once('#') {
        return Ok(Day::NthOfWeek(field.value(day)?, Field::new("Day-of-week", 1, 5).value(n)?));
    }
    match text.strip_suffix(['L', 'l']) {
        Some(day) => Ok(Day::LastOfWeek(field.value(day)?)),
        None => Ok(Day::OfWeek(field.values(text)?)),
    }
}

/// The values that a field may have.
#[derive(Clone, Copy)]
struct Field {
    name: &'static str,
    first: u16,
    last: u16,
    /// From the first value on.
    words: &'static [&'static str],
}

impl Field {
    fn new(name: &'static str, first: u16, last: u16) -> Self {
        Self { name, first, last, words: &[] }
    }

    fn named(name: &'static str, first: u16, words: &'static [&'static str]) -> Self {
        let n_words = u16::try_from(words.len()).unwrap_or_default();
        Self { name, first, last: first + n_words - 1, words }
    }

    /// `*`, `5`, `MON-FRI`, `0/15`, and several with commas, sorted.
    fn values(self, text: &str) -> Result<Vec<u16>, String> {
        let mut values = Vec::new();
        for part in text.split(',') {
            values.extend(self.range(part)?);
        }
        values.sort_unstable();
        values.dedup();
        Ok(values)
    }

    fn range(self, text: &str) -> Result<impl Iterator<Item = u16>, String> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => {
                let step = step.parse().ok().filter(|step: &u16| *step > 0);
                (range, Some(step.ok_or_else(|| self.invalid(text))?))
            }
            None => (text, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.first, self.last),
            Some((first, last)) => (self.value(first)?, self.value(last)?),
            None if step.is_some() => (self.value(range)?, self.last),
            None => (self.value(range)?, self.value(range)?),
        };
        if first > last {
            return Err(self.invalid(text));
        }
        Ok((first..=last).step_by(usize::from(step.unwrap_or(1))))
    }

    fn value(self, text: &str) -> Result<u16, String> {
        let is_word = |word: &&'static str| word.eq_ignore_ascii_case(text);
        if let Some(place) = self.words.iter().position(is_word) {
            return Ok(self.first + u16::try_from(place).unwrap_or_default());
        }
        let value = text.parse().ok().filter(|value| (self.first..=self.last).contains(value));
        value.ok_or_else(|| self.invalid(text))
    }

    fn invalid(self, text: &str) -> String {
        format!("{text} does not fit {}, which is {} to {}", self.name, self.first, self.last)
    }
}
