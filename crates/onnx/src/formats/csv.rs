//! `text/csv`: rows of numbers (or strings), without a header.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{FormatError, Shapes, n_rows, names, put_json, room_for, text};
use crate::model::Output;
use crate::port::Port;
use crate::tensor::{Data, Dtype, Element, Misfit, NOT_A_NUMBER, Scalar, Shape, with_values};

/// Reads rows; the columns go to the inputs in their order, as many as each one takes.
///
/// Empty lines are skipped. An empty field or `nan` is refused: both are mostly a bug upstream,
/// and would give an answer that looks like any other.
pub(crate) fn decode(
    ports: &[Port],
    body: &[u8],
    into: &mut [Data],
) -> Result<Shapes, FormatError> {
    let mut table = Table::new(ports, into);
    let mut records = Records { rest: text(body)? };
    let mut row = Vec::new();
    loop {
        if table.push_plain(&mut records) {
            continue;
        }
        // There is something about this row, or no row: with the next ones it is tried again.
        if !records.read(&mut row).map_err(|why| bad_row(table.n_rows + 1, why))? {
            break;
        }
        table.push(&row)?;
    }
    if table.n_rows == 0 {
        return Err(FormatError::Bad("the body holds no rows".to_owned()));
    }
    table.shapes()
}

/// The rows so far, shared out to the inputs.
struct Table<'p> {
    ports: &'p [Port],
    into: &'p mut [Data],
    /// How many values of each input were there before.
    before: SmallVec<[usize; 2]>,
    /// How many columns each input takes: what the model says, else what the first row has.
    widths: SmallVec<[Option<usize>; 2]>,
    /// How many columns the first row has.
    n_columns: usize,
    n_rows: usize,
}

impl<'p> Table<'p> {
    fn new(ports: &'p [Port], into: &'p mut [Data]) -> Self {
        let before = into.iter().map(Data::len).collect();
        let widths = ports.iter().map(Port::width).collect();
        Self { ports, into, before, widths, n_columns: 0, n_rows: 0 }
    }

    /// Reads the next row, if it is what nearly all rows are: plain numbers, as many as wanted.
    /// Else it returns false, and nothing has happened.
    fn push_plain(&mut self, records: &mut Records<'_>) -> bool {
        if self.ports.is_empty() {
            return false;
        }
        let mut line = Line::new(records.rest);
        let last = self.ports.len() - 1;
        let any_width = *self.widths == [None] && self.ports[0].dims().len() == 2;
        let mut reads = self.into.iter_mut().zip(&self.widths).enumerate();
        let all_read = reads.all(|(index, (data, width))| {
            with_values!(Data: data, values => match width {
                Some(width) => line.numbers(values, *width, index == last),
                None => any_width && line.numbers_to_end(values),
            })
        });
        if !all_read {
            self.undo_row();
            return false;
        }
        if any_width {
            self.widths[0] = Some(self.into[0].len() - self.before[0]);
        }
        if self.n_rows == 0 {
            self.n_columns = self.widths.iter().flatten().sum();
        }
        self.n_rows += 1;
        records.rest = line.rest;
        true
    }

    /// Takes back what was read of a row.
    fn undo_row(&mut self) {
        for ((data, before), width) in self.into.iter_mut().zip(&self.before).zip(&self.widths) {
            data.truncate(before + self.n_rows * width.unwrap_or(0));
        }
    }

    /// Reads a row field by field, and says what is wrong with it.
    fn push(&mut self, row: &[Cow<'_, str>]) -> Result<(), FormatError> {
        if self.n_rows == 0 {
            let widths = share(self.ports, row.len())?;
            (self.n_columns, self.widths) = (row.len(), widths.into_iter().map(Some).collect());
        }
        self.n_rows += 1;
        let n = self.n_rows;
        if row.len() != self.n_columns {
            let why = format!("has {} columns, the first has {}", row.len(), self.n_columns);
            return Err(bad_row(n, &why));
        }
        let mut fields = row.iter().enumerate();
        let widths = self.widths.iter().flatten();
        for ((port, data), width) in self.ports.iter().zip(&mut *self.into).zip(widths) {
            for (index, field) in fields.by_ref().take(*width) {
                push(data, field).map_err(|why| bad_field(port, n, index + 1, field, why))?;
            }
        }
        Ok(())
    }

    fn shapes(self) -> Result<Shapes, FormatError> {
        let shape = |(port, width): (&Port, &Option<usize>)| {
            let mut shape = Shape::from_slice(&[self.n_rows]);
            match port.tail() {
                Some(tail) => shape.extend(tail),
                None => shape.extend(*width),
            }
            if port.dims().is_empty() && self.n_rows == 1 {
                shape.clear(); // A scalar.
            }
            Ok(port.fit_shape(shape)?)
        };
        self.ports.iter().zip(&self.widths).map(shape).collect()
    }
}

/// How many columns each input takes.
fn share(ports: &[Port], n_columns: usize) -> Result<Vec<usize>, FormatError> {
    if let [port] = ports {
        let takes_any_width = port.width().is_none() && port.dims().len() == 2;
        if takes_any_width || port.width() == Some(n_columns) {
            return Ok(vec![n_columns]);
        }
        let got = match port.width() {
            Some(_) => format!("rows of {n_columns} columns"),
            None => "CSV, which has rows and columns only; send JSON or .npy".to_owned(),
        };
        return Err(port.refuse(got).into());
    }
    let widths: Option<Vec<usize>> = ports.iter().map(Port::width).collect();
    let widths = widths.ok_or_else(|| {
        let why = "the model has several inputs, some of any width; send JSON with their names";
        FormatError::Bad(why.to_owned())
    })?;
    let takes = widths.iter().fold(0usize, |sum, width| sum.saturating_add(*width));
    if takes != n_columns {
        return Err(FormatError::Bad(format!(
            "the inputs {} take {takes} columns together, got rows of {n_columns} columns",
            names(ports)
        )));
    }
    Ok(widths)
}

fn push(data: &mut Data, field: &str) -> Result<(), Misfit> {
    let dtype = data.dtype();
    let field = if dtype == Dtype::Str { field } else { field.trim() };
    if field.is_empty() && dtype != Dtype::Str {
        return Err(Misfit("is empty"));
    }
    let word = field.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_alphabetic());
    if word && !matches!(dtype, Dtype::Str | Dtype::Bool) {
        return Err(NOT_A_NUMBER); // `nan` and `inf` too, which Rust would parse.
    }
    with_values!(Data: data, values => push_parsed(values, field))
}

fn push_parsed<T: Element>(values: &mut Vec<T>, field: &str) -> Result<(), Misfit> {
    values.push(T::from_text(field)?);
    Ok(())
}

fn bad_row(row: usize, why: &str) -> FormatError {
    FormatError::Bad(format!("row {row} {why}"))
}

fn bad_field(port: &Port, row: usize, column: usize, field: &str, why: Misfit) -> FormatError {
    let may_be_a_header = row == 1 && why == NOT_A_NUMBER;
    let hint = if may_be_a_header { "; send the rows without a header line" } else { "" };
    let shown: String = field.chars().take(40).collect();
    let value = if shown.is_empty() { shown } else { format!(" ({shown:?})") };
    FormatError::Bad(format!(
        "input \"{}\": row {row}, column {column}{value} {why}{hint}",
        port.name
    ))
}

/// A record of plain numbers on its way in.
struct Line<'a> {
    rest: &'a str,
    ended: bool,
}

impl<'a> Line<'a> {
    fn new(rest: &'a str) -> Self {
        Self { rest: rest.trim_start_matches(['\r', '\n']), ended: false }
    }

    /// Reads `n` numbers; false if there are others, or if the line goes on after the last ones.
    fn numbers<T: Element>(&mut self, values: &mut Vec<T>, n: usize, are_last: bool) -> bool {
        (0..n).all(|_| self.number(values)) && self.ended == are_last
    }

    fn numbers_to_end<T: Element>(&mut self, values: &mut Vec<T>) -> bool {
        while !self.ended {
            if !self.number(values) {
                return false;
            }
        }
        true
    }

    fn number<T: Element>(&mut self, values: &mut Vec<T>) -> bool {
        if self.ended {
            return false;
        }
        let is_end = |byte: &u8| matches!(byte, b',' | b'\r' | b'\n');
        let end = self.rest.bytes().position(|byte| is_end(&byte)).unwrap_or(self.rest.len());
        let (field, rest) = self.rest.split_at(end);
        let Some(value) = T::from_plain(field.trim_matches([' ', '\t'])) else { return false };
        values.push(value);
        let is_comma = rest.starts_with(',');
        self.ended = !is_comma;
        self.rest = if is_comma { &rest[1..] } else { rest };
        true
    }
}

/// The records of a CSV text, as RFC 4180 has them.
struct Records<'a> {
    rest: &'a str,
}

impl<'a> Records<'a> {
    /// Reads the next record that is not an empty line; `false` at the end.
    fn read(&mut self, row: &mut Vec<Cow<'a, str>>) -> Result<bool, &'static str> {
        row.clear();
        self.rest = self.rest.trim_start_matches(['\r', '\n']);
        if self.rest.trim().is_empty() {
            return Ok(false);
        }
        loop {
            row.push(if self.rest.starts_with('"') { self.quoted()? } else { self.plain() });
            match self.rest.as_bytes().first() {
                Some(b',') => self.rest = &self.rest[1..],
                Some(b'\r' | b'\n') | None => return Ok(true),
                Some(_) => return Err("has text behind a closing quote"),
            }
        }
    }

    fn plain(&mut self) -> Cow<'a, str> {
        let end = self.rest.find([',', '\r', '\n']).unwrap_or(self.rest.len());
        let (field, rest) = self.rest.split_at(end);
        self.rest = rest;
        Cow::Borrowed(field)
    }

    fn quoted(&mut self) -> Result<Cow<'a, str>, &'static str> {
        let mut field = Cow::Borrowed("");
        let mut rest = &self.rest[1..];
        loop {
            let Some(end) = rest.find('"') else { return Err("has a quote that is not closed") };
            field += &rest[..end];
            rest = &rest[end + 1..];
            if !rest.starts_with('"') {
                self.rest = rest;
                return Ok(field);
            }
            field += "\"";
            rest = &rest[1..];
        }
    }
}

/// Writes a line for each row: the values of all outputs, in their order.
pub(crate) fn encode(outputs: &[Output<'_>]) -> Result<Vec<u8>, FormatError> {
    let all_scalars = outputs.iter().all(|output| output.shape.is_empty());
    let n_rows = if all_scalars { Some(1) } else { n_rows(outputs) };
    let Some(n_rows) = n_rows else {
        let why = "the model's outputs differ in their number of rows, which CSV cannot hold; \
                   accept application/json";
        return Err(FormatError::NotAcceptable(why.to_owned()));
    };
    let mut out = Vec::with_capacity(room_for(outputs));
    for row in 0..n_rows {
        let mut separator: &[u8] = b"";
        for output in outputs {
            with_values!(Values: output.values, values => {
                let width = values.len() / n_rows;
                for value in &values[row * width..(row + 1) * width] {
                    out.extend_from_slice(separator);
                    put(&mut out, value.as_scalar());
                    separator = b",";
                }
            });
        }
        out.push(b'\n');
    }
    Ok(out)
}

fn put(out: &mut Vec<u8>, scalar: Scalar<'_>) {
    match scalar {
        Scalar::Single(value) if !value.is_finite() => put_odd(out, value.into()),
        Scalar::Double(value) if !value.is_finite() => put_odd(out, value),
        Scalar::Str(text) if text.contains([',', '"', '\r', '\n']) => {
            out.push(b'"');
            out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
            out.push(b'"');
        }
        Scalar::Str(text) => out.extend_from_slice(text.as_bytes()),
        Scalar::Int(_)
        | Scalar::Uint(_)
        | Scalar::Single(_)
        | Scalar::Double(_)
        | Scalar::Bool(_) => put_json(out, scalar),
    }
}

/// `nan`, `inf` and `-inf`, as NumPy writes and reads them.
fn put_odd(out: &mut Vec<u8>, value: f64) {
    let word: &[u8] = if value.is_nan() {
        b"nan"
    } else if value > 0.0 {
        b"inf"
    } else {
        b"-inf"
    };
    out.extend_from_slice(word);
}

#[cfg(test)]
#[path = "csv_tests.rs"]
mod tests;
