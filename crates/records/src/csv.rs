//! Rows of CSV: their fields stay as they were written, quotes and all.

use smallvec::SmallVec;

use crate::path::{Path, Segment};
use crate::{Unfit, select};

/// Writes the columns of `row` that `path` takes, as a row.
///
/// # Errors
/// When it has no such column.
pub fn filter(path: &Path, row: &str, out: &mut String) -> Result<(), Unfit> {
    if path.is_root() {
        out.push_str(row);
        return Ok(());
    }
    let fields: SmallFields<'_> = fields(row).collect();
    match path.segments.as_slice() {
        [] | [Segment::All] => out.push_str(row),
        [Segment::Element(index)] => out.push_str(element(&fields, *index)?),
        [Segment::Elements(indices)] => {
            for (at, index) in indices.iter().enumerate() {
                push(out, at, element(&fields, *index)?);
            }
        }
        [Segment::Slice(start, end)] => {
            let taken = &fields[select::slice(*start, *end, fields.len())];
            taken.iter().enumerate().for_each(|(at, field)| push(out, at, field));
        }
        [Segment::Member(name)] => return Err(Unfit::WrongKind(name.clone(), "row")),
        [Segment::Members(names)] => return Err(Unfit::WrongKind(names.join(","), "row")),
        [_, _, ..] => return Err(Unfit::WrongKind("an element".to_owned(), "column")),
    }
    Ok(())
}

/// Writes a row and the model's answer to it: its columns, then those of the answer.
pub fn join(row: &str, reply: &str, out: &mut String) {
    out.push_str(row);
    out.push(',');
    out.push_str(reply);
}

/// Rows have few columns as a rule.
type SmallFields<'r> = SmallVec<[&'r str; 16]>;

fn element<'r>(fields: &[&'r str], index: i64) -> Result<&'r str, Unfit> {
    Ok(fields[select::element(index, fields.len())?])
}

fn push(out: &mut String, at: usize, field: &str) {
    if at > 0 {
        out.push(',');
    }
    out.push_str(field);
}

/// The fields of a row. A comma between quotes is part of its field.
fn fields(row: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    row.split(move |c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::{filter, join};
    use crate::Path;

    fn filtered(path: &str, row: &str) -> Result<String, String> {
        let mut out = String::new();
        let outcome = filter(&Path::parse(path).unwrap(), row, &mut out);
        outcome.map(|()| out).map_err(|reason| reason.to_string())
    }

    #[track_caller]
    fn check(path: &str, row: &str, wanted: &str) {
        assert_eq!(filtered(path, row).as_deref(), Ok(wanted), "{path} {row}");
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
        let error = filtered("$[5]", "1,2").unwrap_err();
        assert_eq!(error, "it has no element 5, for there are 2");
        assert!(filtered("$.a", "1,2").is_err());
        assert!(filtered("$[0][1]", "1,2").is_err());
    }

    #[test]
    fn a_joined_row_has_both() {
        let mut out = String::new();
        join("1,2", "0.5,0.25", &mut out);
        assert_eq!(out, "1,2,0.5,0.25");
    }
}
