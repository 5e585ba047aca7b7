//! The `Accept` header: in which format the caller wants the answer.

use super::{Format, FormatError, media_type};

/// Chooses the format that the caller likes best; `default` where all are equal.
///
/// # Errors
/// When the caller accepts none of ours.
pub(crate) fn choose(accept: Option<&str>, default: Format) -> Result<Format, FormatError> {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else {
        return Ok(default);
    };
    if let Some(format) = Format::plain(accept) {
        return Ok(format);
    }
    let mut best: Option<(Format, f32)> = None;
    for range in accept.split(',') {
        let Some(format) = format_of(media_type(range), default) else { continue };
        let quality = quality(range);
        if quality > 0.0 && best.is_none_or(|(_, highest)| quality > highest) {
            best = Some((format, quality));
        }
    }
    best.map(|(format, _)| format).ok_or_else(|| {
        FormatError::NotAcceptable(format!(
            "cannot answer as {accept:?}; accept text/csv, application/json or application/x-npy"
        ))
    })
}

fn format_of(range: &str, default: Format) -> Option<Format> {
    match range.split_once("/*") {
        Some(("*", "")) => Some(default),
        Some((kind, "")) if kind.eq_ignore_ascii_case("text") => Some(Format::Csv),
        Some((kind, "")) if kind.eq_ignore_ascii_case("application") => {
            Some(if default == Format::Npy { Format::Npy } else { Format::Json })
        }
        _ => Format::of(range),
    }
}

/// The `q` of a media range, 1 if it has none.
fn quality(range: &str) -> f32 {
    let parameters = range.split(';').skip(1);
    let q = parameters.filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse().unwrap_or(0.0))
    });
    q.last().unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::choose;
    use crate::formats::Format::{self, Csv, Json, Npy};

    fn check(accept: &str, default: Format, expected: Option<Format>) {
        assert_eq!(choose(Some(accept), default).ok(), expected, "{accept:?}");
    }

    #[test]
    fn chooses_what_the_caller_likes() {
        assert_eq!(choose(None, Csv), Ok(Csv));
        check("", Csv, Some(Csv));
        check("*/*", Csv, Some(Csv));
        check("application/json", Csv, Some(Json));
        check("Text/CSV; charset=utf-8", Json, Some(Csv));
        check("text/csv;q=0.5, application/json", Csv, Some(Json));
        check("text/html, */*;q=0.1", Json, Some(Json));
        check("application/*", Csv, Some(Json));
        check("application/*", Npy, Some(Npy));
        check("text/*", Json, Some(Csv));
        check("application/x-npy, application/json", Json, Some(Npy));
        check("application/json;q=0, text/csv", Json, Some(Csv));
    }

    #[test]
    fn refuses_what_we_do_not_write() {
        check("image/png", Json, None);
        check("application/json;q=0", Json, None);
        check("application/json;q=x", Json, None);
        check(",;,=", Json, None);
        let error = choose(Some("image/png"), Json).unwrap_err();
        assert_eq!(error.status(), 406);
    }
}
