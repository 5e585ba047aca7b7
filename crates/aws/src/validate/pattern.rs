//! The patterns of the service models: Java's dialect, matched against the whole string.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use regex::{Regex, RegexBuilder};

/// `None` stands for a pattern that `regex` does not know (look-around): it is not checked.
type Compiled = Option<Arc<Regex>>;

/// Bounded by the number of patterns in the tables of `wire`.
static COMPILED: LazyLock<Mutex<HashMap<&'static str, Compiled>>> = LazyLock::new(Mutex::default);

/// Some patterns of the models repeat a Unicode class a thousand times.
const MAX_SIZE: usize = 64 << 20;

/// True if all of `text` matches, or if the pattern cannot be checked.
pub(super) fn fits(pattern: &'static str, text: &str) -> bool {
    let compiled = {
        let mut cache = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
        cache.entry(pattern).or_insert_with(|| compile(pattern)).clone()
    };
    compiled.is_none_or(|regex| regex.is_match(text))
}

/// True if values are checked against `pattern`.
#[must_use]
pub fn compiles(pattern: &str) -> bool {
    compile(pattern).is_some()
}

fn compile(pattern: &str) -> Compiled {
    let whole = format!(r"\A(?:{})\z", from_java(pattern));
    RegexBuilder::new(&whole).size_limit(MAX_SIZE).build().ok().map(Arc::new)
}

/// Java's `\d`, `\w` and `\s` know ASCII only.
fn from_java(pattern: &str) -> String {
    let mut translated = String::with_capacity(pattern.len() + 16);
    let mut in_class = false;
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match posix_class(letters.as_str()) {
                Some((class, rest)) => {
                    push_class(&mut translated, &class, in_class);
                    letters = rest.chars();
                }
                None => escape(&mut translated, letters.next(), in_class),
            },
            '[' | ']' => {
                in_class = letter == '[';
                translated.push(letter);
            }
            _ => translated.push(letter),
        }
    }
    translated
}

fn escape(translated: &mut String, letter: Option<char>, in_class: bool) {
    let class = match letter {
        Some('d') => "0-9",
        Some('w') => "a-zA-Z0-9_",
        Some('s') => r" \t\n\x0B\f\r",
        Some('D') => "^0-9",
        Some('W') => "^a-zA-Z0-9_",
        Some('S') => r"^ \t\n\x0B\f\r",
        Some(other) => {
            translated.push('\\');
            translated.push(other);
            return;
        }
        None => return translated.push('\\'),
    };
    push_class(translated, class, in_class);
}

/// Inside a class, a plain one needs no brackets of its own; a negated one does.
fn push_class(translated: &mut String, class: &str, in_class: bool) {
    if in_class && !class.starts_with('^') {
        translated.push_str(class);
    } else {
        translated.extend(["[", class, "]"]);
    }
}

/// `p{Print}` is ASCII's `[:print:]` in Java; other names are those of Unicode in both.
fn posix_class(escaped: &str) -> Option<(String, &str)> {
    const NAMES: [&str; 13] = [
        "ASCII", "Alnum", "Alpha", "Blank", "Cntrl", "Digit", "Graph", "Lower", "Print", "Punct",
        "Space", "Upper", "XDigit",
    ];
    let (name, rest) = escaped.strip_prefix("p{")?.split_once('}')?;
    let class = format!("[:{}:]", name.to_ascii_lowercase());
    NAMES.contains(&name).then_some((class, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &'static str, text: &str, expected: bool) {
        assert_eq!(fits(pattern, text), expected, "{pattern} {text:?}");
    }

    #[test]
    fn matches_as_java_does() {
        check("^[a-zA-Z0-9](-*[a-zA-Z0-9])*", "a-b", true);
        check("^[a-zA-Z0-9](-*[a-zA-Z0-9])*", "a-b-", false);
        check("a|b", "ab", false); // The whole string, over both branches.
        check(r"\d+", "12", true);
        check(r"\d+", "\u{0661}", false); // An Arabic digit.
        check(r"[\d\s]+", "1 2", true);
        check(r"[\S\s]*", "\u{e9} \n", true);
        check(r"[^\W]+", "a_1", true);
        check(r"[^\W]+", "a-1", false);
        check(r"\A\S[\p{Print}]*\z", "a b", true);
        check(r"\p{Print}*", "\u{e9}", false); // ASCII only.
        check(".*", "a\nb", false);
        check(r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$", "clé 1", true);
        check("(?!aws:).*", "aws:x", true); // Cannot be checked.
        assert!(!compiles("(?!aws:).*"));
    }
}
