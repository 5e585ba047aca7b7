//! AWS's names in Rust's dress.

/// The name of a struct or enum: `policyInfo` is `PolicyInfo`.
pub(super) fn type_name(shape: &str) -> String {
    capitalised(shape)
}

/// The name of a field: `VPCSecurityGroupIds` is `vpc_security_group_ids`.
pub(super) fn field_name(member: &str) -> String {
    words(member).join("_").to_lowercase()
}

/// A field's name as it stands in the source, where a keyword needs `r#` before it.
pub(super) fn field_in_source(field: &str) -> String {
    if KEYWORDS.contains(&field) { format!("r#{field}") } else { field.to_owned() }
}

/// The name of a constant or static: `EndpointName` is `ENDPOINT_NAME`.
pub(super) fn constant_name(shape: &str) -> String {
    words(shape).join("_").to_uppercase()
}

/// The name of an enumeration's variant: `ROLLING_BACK` is `RollingBack`, `ml.t2.2xlarge` is
/// `MlT2_2xlarge`.
pub(super) fn variant_name(value: &str) -> String {
    let mut name = String::new();
    for piece in value.split(|c: char| !c.is_ascii_alphanumeric()).filter(|p| !p.is_empty()) {
        if ends_in_digit(&name) && starts_with_digit(piece) {
            name.push('_');
        }
        name.push_str(&variant_word(piece));
    }
    if starts_with_digit(&name) || name.is_empty() { format!("V{name}") } else { name }
}

/// What serde makes of a field under `rename_all = "PascalCase"`.
pub(super) fn pascal_case(field: &str) -> String {
    field.split('_').map(capitalised).collect()
}

/// What serde makes of a field under `rename_all = "camelCase"`.
pub(super) fn camel_case(field: &str) -> String {
    let name = pascal_case(field);
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| {
        format!("{}{}", first.to_ascii_lowercase(), chars.as_str())
    })
}

/// Keywords that `r#` makes a name of; no member is called `self`, `super` or `crate`.
const KEYWORDS: [&str; 36] = [
    "as", "async", "await", "box", "break", "const", "continue", "do", "dyn", "else", "enum",
    "extern", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match",
    "mod", "move", "override", "priv", "pub", "ref", "return", "static", "struct", "trait", "try",
    "type", "use",
];

/// Cuts a name into words: `MemorySizeInMB` is `Memory`, `Size`, `In`, `MB`.
fn words(name: &str) -> Vec<String> {
    let name = name.replace("FSx", "Fsx"); // One word, however AWS writes it.
    let letters: Vec<char> = name.chars().collect();
    let mut words: Vec<String> = Vec::new();
    for (at, &letter) in letters.iter().enumerate() {
        if !letter.is_ascii_alphanumeric() {
            words.push(String::new());
            continue;
        }
        match words.last_mut() {
            Some(word) if !begins_word(&letters, at) => word.push(letter),
            _ => words.push(letter.to_string()),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Says whether a word begins at `at`: at a capital after a small letter or digit, and at the last
/// capital of several if a word goes on from there (`KMSKeyId`, but not the `s` of `ARNs`).
fn begins_word(letters: &[char], at: usize) -> bool {
    if at == 0 || !letters[at].is_ascii_uppercase() {
        return false;
    }
    let ends_acronym = goes_on_small(letters, at) && !is_plural_end(letters, at + 1);
    !letters[at - 1].is_ascii_uppercase() || ends_acronym
}

fn goes_on_small(letters: &[char], at: usize) -> bool {
    letters.get(at + 1).is_some_and(char::is_ascii_lowercase)
}

/// Says whether the letter at `at` is the `s` of a plural such as `ARNs`.
fn is_plural_end(letters: &[char], at: usize) -> bool {
    letters[at] == 's' && letters.get(at + 1).is_none_or(|next| !next.is_ascii_lowercase())
}

fn variant_word(piece: &str) -> String {
    let shouts = piece.len() > 1 && !piece.chars().any(|c| c.is_ascii_lowercase());
    if shouts { capitalised(&piece.to_lowercase()) } else { capitalised(piece) }
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| {
        format!("{}{}", first.to_ascii_uppercase(), chars.as_str())
    })
}

fn starts_with_digit(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_digit())
}

fn ends_in_digit(name: &str) -> bool {
    name.ends_with(|c: char| c.is_ascii_digit())
}
