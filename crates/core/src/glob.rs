//! Patterns in which `*` stands for any characters, none included.

/// Says whether all of `text` is as `pattern` says. Takes no longer than the product of their
/// lengths, whatever they hold.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut seen) = (0, 0);
    // Behind the newest star, and how much of the text it has taken.
    let mut retry: Option<(usize, usize)> = None;
    while seen < text.len() {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            retry = Some((at, seen));
        } else if pattern.get(at) == text.get(seen) {
            at += 1;
            seen += 1;
        } else if let Some((behind, taken)) = retry {
            (at, seen) = (behind, taken + 1);
            retry = Some((behind, taken + 1));
        } else {
            return false;
        }
    }
    pattern.iter().skip(at).all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::matches;

    fn check(pattern: &str, text: &str, expected: bool) {
        assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
    }

    #[test]
    fn stars_stand_for_anything() {
        check("", "", true);
        check("", "a", false);
        check("*", "", true);
        check("a*", "a", true);
        check("a*", "abc", true);
        check("*c", "abc", true);
        check("a*c", "abbc", true);
        check("a*c", "abb", false);
        check("*ab*ab", "ababab", true);
        check("*é*", "café au lait", true);
        check("ab", "abc", false);
        check("a**b", "ab", true);
        check("*a*b*a", &"ab".repeat(1000), false);
    }

    proptest! {
        #[test]
        fn never_panics_and_finds_itself(pattern in "[a*é]{0,12}", text in "[abé]{0,24}") {
            let _found = matches(&pattern, &text);
            prop_assert!(matches(&pattern, &pattern.replace('*', &text)));
        }
    }
}
