//! Whether the rows of a model may be computed together.
//!
//! A first dimension of any size does not tell: it may as well be the steps of a sequence. So a
//! few rows are run together and one by one, and what comes out is compared.

use std::time::Duration;

use smallvec::SmallVec;

use crate::model::{Model, Outputs, RunError};
use crate::port::Port;
use crate::tensor::{Data, Dtype, Shape, Values, with_values};
use crate::tensor::{Element, Scalar};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rows {
    /// A row comes out the same, whatever rows run with it.
    Independent,
    /// It does not; says how.
    Dependent(String),
    /// The rows have no fixed shape, or the model did not take ours, or it takes too long.
    Unknown,
}

/// How many rows are compared.
const N_ROWS: usize = 3;

/// Wider rows are not made up.
const MOST_VALUES: usize = 1 << 20;

/// A look may take this long, or this share of what the model took to load.
const ALWAYS: Duration = Duration::from_millis(10);
const SHARE: u32 = 10;

/// Whether there is time to look at a model that took `load` to load and `run` for one row.
pub(crate) fn is_quick(load: Duration, run: Duration) -> bool {
    let runs = u32::try_from(2 * N_ROWS).unwrap_or(u32::MAX);
    run * runs <= ALWAYS.max(load / SHARE)
}

/// Runs rows together and one by one.
pub(crate) fn look(model: &Model) -> Rows {
    let rows: Option<Vec<_>> = (0..N_ROWS).map(|row| made_up(model, row)).collect();
    let Some(rows) = rows else { return Rows::Unknown };
    compare(model, &rows).unwrap_or(Rows::Unknown)
}

/// A row: a shape and values for each input.
type Row = SmallVec<[(Shape, Data); 2]>;

fn compare(model: &Model, rows: &[Row]) -> Result<Rows, RunError> {
    let run = |row: &Row| -> Result<Outputs<'_>, RunError> {
        let inputs: SmallVec<[_; 2]> =
            row.iter().map(|(shape, data)| (shape.clone(), data.values())).collect();
        model.compute(&inputs)
    };
    let outputs = run(&joined(rows))?;
    let together = outputs.views()?;
    if let Some(output) = together.iter().find(|output| output.n_rows() != Some(rows.len())) {
        let (name, shape, n) = (output.name, &output.shape, rows.len());
        return Ok(Rows::Dependent(format!("the output \"{name}\" is {shape:?} for {n} rows")));
    }
    for (index, row) in rows.iter().enumerate() {
        let outputs = run(row)?;
        for (together, alone) in together.iter().zip(outputs.views()?) {
            let cut = together.rows(index, 1);
            let same = cut.shape == alone.shape && are_close(cut.values, alone.values);
            if !same || cut.classes != alone.classes {
                let name = alone.name;
                return Ok(Rows::Dependent(format!("the output \"{name}\" is another one then")));
            }
        }
    }
    Ok(Rows::Independent)
}

fn joined(rows: &[Row]) -> Row {
    let mut rows = rows.iter().cloned();
    let mut joined = rows.next().unwrap_or_default();
    for row in rows {
        for ((shape, data), (_, more)) in joined.iter_mut().zip(row) {
            shape[0] += 1;
            data.append(more);
        }
    }
    joined
}

/// Row number `row` for all inputs; `None` where their width is not fixed.
fn made_up(model: &Model, row: usize) -> Option<Row> {
    let input = |port: &Port| {
        let n = port.width().filter(|n| *n <= MOST_VALUES)?;
        let shape = std::iter::once(1).chain(port.tail()?).collect();
        Some((shape, values(port.dtype(), row, n)?))
    };
    model.inputs.iter().map(input).collect()
}

/// Values that differ from row to row. Whole numbers are 0 and 1, which most indices may be.
fn values(dtype: Dtype, row: usize, n: usize) -> Option<Data> {
    const LARGEST: [f64; N_ROWS] = [1.0, 8.0, 64.0];
    let bits = (0..n).map(|at| (row + at / (row + 1)) % 2 == 1);
    if dtype == Dtype::Str {
        return Some(Data::Str(bits.map(|bit| if bit { "b" } else { "a" }.to_owned()).collect()));
    }
    let is_float = matches!(dtype, Dtype::F16 | Dtype::F32 | Dtype::F64);
    let data = if is_float {
        let values = (0..n).map(|at| {
            // Scattered over [-1, 1).
            let scattered = (row * 911 + at * 104_729 + 12_345) % 2000;
            LARGEST[row] * (f64::from(u16::try_from(scattered).unwrap_or_default()) / 1000.0 - 1.0)
        });
        Data::F64(values.collect())
    } else {
        Data::Bool(bits.collect())
    };
    data.convert(dtype).ok()
}

/// Whether values are the same but for the noise of adding them up in another order.
fn are_close(a: Values<'_>, b: Values<'_>) -> bool {
    let noise = if a.dtype() == Dtype::F16 { 1e-2 } else { 1e-4 };
    a.len() == b.len() && scalars(a).zip(scalars(b)).all(|(a, b)| is_close(a, b, noise))
}

fn scalars<'a>(values: Values<'a>) -> Box<dyn Iterator<Item = Scalar<'a>> + 'a> {
    with_values!(Values: values, values => Box::new(values.iter().map(Element::as_scalar)))
}

fn is_close(a: Scalar<'_>, b: Scalar<'_>, noise: f64) -> bool {
    let (a, b) = match (a, b) {
        (Scalar::Single(a), Scalar::Single(b)) => (f64::from(a), f64::from(b)),
        (Scalar::Double(a), Scalar::Double(b)) => (a, b),
        (a, b) => return a == b,
    };
    if !a.is_finite() || !b.is_finite() {
        return a.total_cmp(&b).is_eq() || (a.is_nan() && b.is_nan());
    }
    (a - b).abs() <= noise * (0.1 + a.abs().max(b.abs()))
}

#[cfg(test)]
mod tests {
    use super::{Values, are_close, is_quick, values};
    use crate::tensor::Dtype;
    use std::time::Duration;

    #[test]
    fn noise_is_no_difference() {
        let check = |a: &[f32], b: &[f32], close| {
            assert_eq!(are_close(Values::F32(a), Values::F32(b)), close, "{a:?} {b:?}");
        };
        check(&[1.0, 2.0], &[1.0, 2.0], true);
        check(&[0.333_333], &[0.333_334], true);
        check(&[0.33], &[0.34], false);
        check(&[1e-6], &[0.0], true);
        check(&[f32::NAN, f32::INFINITY], &[f32::NAN, f32::INFINITY], true);
        check(&[f32::NAN], &[1.0], false);
        check(&[f32::INFINITY], &[f32::NEG_INFINITY], false);
        check(&[1.0], &[1.0, 1.0], false);
        assert!(!are_close(Values::I64(&[1]), Values::I64(&[2])));
        assert!(!are_close(Values::Bool(&[true]), Values::Bool(&[false])));
    }

    #[test]
    fn rows_differ() {
        for dtype in [Dtype::F16, Dtype::F32, Dtype::I64, Dtype::U8, Dtype::Bool, Dtype::Str] {
            let row = |row| values(dtype, row, 1).unwrap();
            assert_ne!(row(0), row(1), "{dtype}");
            assert_ne!(row(1), row(2), "{dtype}");
        }
    }

    #[test]
    fn looks_where_it_costs_little() {
        let ms = Duration::from_millis;
        assert!(is_quick(ms(10), Duration::from_micros(50)));
        assert!(is_quick(ms(200), ms(3)));
        assert!(!is_quick(ms(200), ms(17)));
    }
}
