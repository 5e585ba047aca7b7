//! Rows of CSV: their fields stay as they were written, quotes and all.

use crate::path::{Path, Segment};
use crate::{Unfit, select};

/// The columns of `row` that `path` takes, as a row.
///
/// # Errors
/// When it has no such column.
pub fn filter(path: &Path, row: &str) -> Result<String, Unfit> {
    let fields = fields(row);
    let kept: Vec<&str> = match path.segments.as_slice() {
        [] | [Segment::All] => fields,
        [Segment::Element(index)] => vec![fields[select::element(*index, fields.len())?]],
        [Segment::Elements(indices)] => indices
            .iter()
            .map(|index| select::element(*index, fields.len()).map(|at| fields[at]))
            .collect::<Result<_, _>>()?,
        [Segment::Slice(start, end)] => {
            let range = select::slice(*start, *end, fields.len());
            fields[range].to_vec()
        }
        [Segment::Member(name)] => return Err(Unfit::WrongKind(name.clone(), "row")),
        [Segment::Members(names)] => return Err(Unfit::WrongKind(names.join(","), "row")),
        [_, _, ..] => return Err(Unfit::WrongKind("an element".to_owned(), "column")),
    };
    Ok(kept.join(","))
}

/// A row and the model's answer to it: its columns, then those of the answer.
#[must_use]
pub fn join(row: &str, reply: &str) -> String {
    format!("{row},{reply}")
}

/// The fields of a row. A comma between quotes is part of its field.
fn fields(row: &str) -> Vec<&str> {
    let mut fields = Vec::new();
    let (mut start, mut quoted) = (0, false);
    for (at, byte) in row.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                fields.push(&row[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    fields.push(&row[start..]);
    fields
}

#[cfg(test)]
mod tests {
    use super::{filter, join};
    use crate::Path;

    fn check(path: &str, row: &str, wanted: &str) {
        let filtered = filter(&Path::parse(path).unwrap(), row);
        assert_eq!(filtered.as_deref().map_err(ToString::to_string), Ok(wanted), "{path} {row}");
    }

    #[test]
    fn columns() {
        check("$", "1,2,3", "1,2,3");
        check("$[*]", "1,2,3", "1,2,3");
        check("$[1:]", "id,2,3", "2,3");
        check("$[0]", "id,2,3", "id");
        check("$[0,-1]", "id,2,3,0.5", "id,0.5");
        check("$[-1,0]", "id,2", "2,id");
        check("$[:1]", "", "");
        check("$[1:]", "\"a,b\",\"c \"\" d\",e", "\"c \"\" d\",e");
        check("$[0]", " spaced , x", " spaced ");
        check("$[1]", "a,,c", "");
        check("$[0:9]", "a,b", "a,b");
    }

    #[test]
    fn a_column_that_is_not_there() {
        let error = filter(&Path::parse("$[5]").unwrap(), "1,2").unwrap_err();
        assert_eq!(error.to_string(), "it has no element 5, for there are 2");
        assert!(filter(&Path::parse("$.a").unwrap(), "1,2").is_err());
        assert!(filter(&Path::parse("$[0][1]").unwrap(), "1,2").is_err());
    }

    #[test]
    fn a_joined_row_has_both() {
        assert_eq!(join("1,2", "0.5,0.25"), "1,2,0.5,0.25");
    }
}
