//! Where in a request a value stands: `productionVariants.1.member.variantName`.

use std::fmt;

/// The way from the root to a value; each step lies on the stack of its caller.
#[derive(Clone, Copy)]
pub(super) enum Path<'a> {
    Root,
    Member(&'a Path<'a>, &'a str),
    /// Counted from 0 here and from 1 in the text.
    Item(&'a Path<'a>, usize),
    Entry(&'a Path<'a>, &'a str),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Member(above, name) => {
                above.write_dotted(f)?;
                let mut letters = name.chars();
                let first = letters.next().unwrap_or_default();
                write!(f, "{}{}", first.to_ascii_lowercase(), letters.as_str())
            }
            Self::Item(above, index) => {
                above.write_dotted(f)?;
                write!(f, "{}.member", index + 1)
            }
            Self::Entry(above, key) => {
                above.write_dotted(f)?;
                write!(f, "{key}.member")
            }
        }
    }
}

impl Path<'_> {
    fn write_dotted(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Member(..) | Self::Item(..) | Self::Entry(..) => write!(f, "{self}."),
        }
    }
}
