//! Single values: what a format reads or writes, and the Rust types that a tensor can hold.

use half::f16;

/// One value, as a format reads or writes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar<'a> {
    Int(i64),
    Uint(u64),
    /// Kept apart from `Double` so that 0.1 is not written as 0.10000000149011612.
    Single(f32),
    Double(f64),
    Bool(bool),
    Str(&'a str),
}

/// Why a value does not fit a type; reads on after the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Misfit(pub(crate) &'static str);

pub(crate) const NOT_A_NUMBER: Misfit = Misfit("is not a number");
pub(crate) const NOT_A_BOOL: Misfit = Misfit("is not a bool");
pub(crate) const NOT_A_STRING: Misfit = Misfit("is not a string");
pub(crate) const NOT_WHOLE: Misfit = Misfit("is not a whole number");
pub(crate) const OUT_OF_RANGE: Misfit = Misfit("is out of range");

/// A Rust type that a tensor can hold.
pub(crate) trait Element: Clone + Default {
    fn as_scalar(&self) -> Scalar<'_>;
    fn from_scalar(scalar: Scalar<'_>) -> Result<Self, Misfit>;
    /// Reads what stands in a text format.
    fn from_text(text: &str) -> Result<Self, Misfit>;
    /// Reads a number that is written plainly. `None`: look closer, by [`Element::from_text`] or
    /// [`Element::from_scalar`], which take more and say what is wrong.
    fn from_plain(_digits: &str) -> Option<Self> {
        None
    }
}

/// Whole numbers: checked, never wrapped.
macro_rules! whole {
    ($($type:ty, $variant:ident($wide:ty);)*) => {$(
        impl Element for $type {
            fn as_scalar(&self) -> Scalar<'_> {
                Scalar::$variant(<$wide>::from(*self))
            }

            fn from_scalar(scalar: Scalar<'_>) -> Result<Self, Misfit> {
                match scalar {
                    Scalar::Int(value) => Self::try_from(value).or(Err(OUT_OF_RANGE)),
                    Scalar::Uint(value) => Self::try_from(value).or(Err(OUT_OF_RANGE)),
                    Scalar::Single(value) => {
                        whole(value.into()).and_then(|value| Self::try_from(value).or(Err(OUT_OF_RANGE)))
                    }
                    Scalar::Double(value) => {
                        whole(value).and_then(|value| Self::try_from(value).or(Err(OUT_OF_RANGE)))
                    }
                    Scalar::Bool(value) => Ok(Self::from(value)),
                    Scalar::Str(_) => Err(NOT_A_NUMBER),
                }
            }

            fn from_text(text: &str) -> Result<Self, Misfit> {
                text.parse().or_else(|_| {
                    let value: f64 = text.parse().or(Err(NOT_A_NUMBER))?;
                    Self::from_scalar(Scalar::Double(value))
                })
            }

            fn from_plain(digits: &str) -> Option<Self> {
                digits.parse().ok()
            }
        }
    )*};
}
whole! {
    i8, Int(i64);
    i16, Int(i64);
    i32, Int(i64);
    i64, Int(i64);
    u8, Uint(u64);
    u16, Uint(u64);
    u32, Uint(u64);
    u64, Uint(u64);
}

/// A double that holds a whole number, as one that is exact.
#[expect(clippy::cast_possible_truncation, reason = "its range was checked")]
fn whole(value: f64) -> Result<i64, Misfit> {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53: up to here a double holds every whole number.
    if value.fract() != 0.0 {
        return Err(NOT_WHOLE); // NaN and the infinities come here too: their fraction is NaN.
    }
    if value.abs() > EXACT {
        return Err(OUT_OF_RANGE);
    }
    Ok(value as i64)
}

/// Floats: rounded to the nearest, but never to infinity.
macro_rules! float {
    ($($type:ty, |$value:ident| $as_scalar:expr, |$wide:ident| $narrow:expr;)*) => {$(
        impl Element for $type {
            fn as_scalar(&self) -> Scalar<'_> {
                let $value = *self;
                $as_scalar
            }

            #[expect(clippy::cast_precision_loss, reason = "a float is the nearest to what was sent")]
            fn from_scalar(scalar: Scalar<'_>) -> Result<Self, Misfit> {
                let $wide = match scalar {
                    Scalar::Int(value) => value as f64,
                    Scalar::Uint(value) => value as f64,
                    Scalar::Single(value) => value.into(),
                    Scalar::Double(value) => value,
                    Scalar::Bool(value) => f64::from(u8::from(value)),
                    Scalar::Str(_) => return Err(NOT_A_NUMBER),
                };
                let narrow: Self = $narrow;
                let overflowed = $wide.is_finite() && !narrow.is_finite();
                if overflowed { Err(OUT_OF_RANGE) } else { Ok(narrow) }
            }

            fn from_text(text: &str) -> Result<Self, Misfit> {
                let value: f64 = text.parse().or(Err(NOT_A_NUMBER))?;
                Self::from_scalar(Scalar::Double(value))
            }

            fn from_plain(digits: &str) -> Option<Self> {
                let $wide: f64 = digits.parse().ok()?;
                let narrow: Self = $narrow;
                narrow.is_finite().then_some(narrow) // `nan` and `inf` are no plain numbers.
            }
        }
    )*};
}
float! {
    f16, |value| Scalar::Single(value.to_f32()), |wide| Self::from_f64(wide);
    f32, |value| Scalar::Single(value), |wide| narrow(wide);
    f64, |value| Scalar::Double(value), |wide| wide;
}

#[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest")]
fn narrow(wide: f64) -> f32 {
    wide as f32
}

impl Element for bool {
    fn as_scalar(&self) -> Scalar<'_> {
        Scalar::Bool(*self)
    }

    fn from_scalar(scalar: Scalar<'_>) -> Result<Self, Misfit> {
        let truth = u8::from_scalar(scalar).or(Err(NOT_A_BOOL))?;
        if truth > 1 { Err(NOT_A_BOOL) } else { Ok(truth == 1) }
    }

    fn from_text(text: &str) -> Result<Self, Misfit> {
        match text {
            "true" | "True" | "TRUE" | "1" => Ok(true),
            "false" | "False" | "FALSE" | "0" => Ok(false),
            _ => Err(NOT_A_BOOL),
        }
    }
}

impl Element for String {
    fn as_scalar(&self) -> Scalar<'_> {
        Scalar::Str(self)
    }

    fn from_scalar(scalar: Scalar<'_>) -> Result<Self, Misfit> {
        match scalar {
            Scalar::Str(text) => Self::from_text(text),
            Scalar::Int(_)
            | Scalar::Uint(_)
            | Scalar::Single(_)
            | Scalar::Double(_)
            | Scalar::Bool(_) => Err(NOT_A_STRING),
        }
    }

    fn from_text(text: &str) -> Result<Self, Misfit> {
        // ONNX Runtime takes strings that end with a zero byte.
        if text.contains('\0') { Err(Misfit("holds a zero byte")) } else { Ok(text.to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Element as _, NOT_WHOLE, Scalar};

    #[test]
    fn whole_numbers_may_be_written_as_floats() {
        assert_eq!(i64::from_text("3.0"), Ok(3));
        assert_eq!(i64::from_text("9223372036854775807"), Ok(i64::MAX));
        assert_eq!(i64::from_text("3.5"), Err(NOT_WHOLE));
        assert_eq!(u8::from_scalar(Scalar::Single(255.0)), Ok(255));
    }
}
