//! The subset of `JSONPath` that SageMaker's filters may use.

/// SageMaker API: a filter has at most 63 characters.
const LONGEST: usize = 63;

/// `$.features[1:3]`, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    pub(crate) segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    /// `.name`, `['name']`.
    Member(String),
    /// `['a','b']`.
    Members(Vec<String>),
    /// `[1]`; from the end, if negative.
    Element(i64),
    /// `[0,-1]`.
    Elements(Vec<i64>),
    /// `[1:3]`: without the last.
    Slice(Option<i64>, Option<i64>),
    /// `.*`, `[*]`.
    All,
}

/// Text that is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    #[error("{0:?} is longer than {LONGEST} characters")]
    TooLong(String),
    #[error(
        "{path:?} is not a supported JSONPath expression: at character {at} there should be {wanted}"
    )]
    Syntax { path: String, at: usize, wanted: &'static str },
}

impl Path {
    /// Reads a filter. Of the empty one and of `$`, everything is taken.
    ///
    /// # Errors
    /// When it is too long, or not of the subset.
    pub fn parse(path: &str) -> Result<Self, InvalidPath> {
        if path.chars().count() > LONGEST {
            return Err(InvalidPath::TooLong(path.to_owned()));
        }
        let mut reader = Reader { rest: path };
        reader.segments().map(|segments| Self { segments }).map_err(|wanted| {
            let before = path.get(..path.len() - reader.rest.len()).unwrap_or_default();
            InvalidPath::Syntax { path: path.to_owned(), at: before.chars().count() + 1, wanted }
        })
    }

    /// It takes everything.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.segments.is_empty()
    }

    /// It can be taken of a row, which has columns and neither names nor depth.
    #[must_use]
    pub fn fits_rows(&self) -> bool {
        match self.segments.as_slice() {
            []
            | [Segment::Element(_) | Segment::Elements(_) | Segment::Slice(..) | Segment::All] => {
                true
            }
            [Segment::Member(_) | Segment::Members(_)] | [_, _, ..] => false,
        }
    }
}

struct Reader<'p> {
    rest: &'p str,
}

/// What should be there.
type Wanted = &'static str;

impl Reader<'_> {
    fn segments(&mut self) -> Result<Vec<Segment>, Wanted> {
        let mut segments = Vec::new();
        if self.rest.is_empty() {
            return Ok(segments);
        }
        self.wanted("$", "$")?;
        while !self.rest.is_empty() {
            segments.push(self.segment()?);
        }
        Ok(segments)
    }

    fn segment(&mut self) -> Result<Segment, Wanted> {
        let has_dot = self.take(".");
        if self.take("[") {
            return self.brackets(); // `$.a.['b']` is read as `$.a['b']`.
        }
        if !has_dot {
            return Err("a dot or a bracket");
        }
        if self.take("*") {
            return Ok(Segment::All);
        }
        let end = self.rest.find(['.', '[']).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if name.is_empty() || name.contains([']', '\'', '"', ' ', '(', ')', '?', '@', '$']) {
            return Err("a name");
        }
        self.rest = rest;
        Ok(Segment::Member(name.to_owned()))
    }

    /// What is between brackets; the first is taken.
    fn brackets(&mut self) -> Result<Segment, Wanted> {
        self.spaces();
        let segment = if self.take("*") {
            Segment::All
        } else if self.rest.starts_with(['\'', '"']) {
            self.members()?
        } else {
            self.elements()?
        };
        self.spaces();
        self.wanted("]", "a closing bracket")?;
        Ok(segment)
    }

    fn members(&mut self) -> Result<Segment, Wanted> {
        let mut names = vec![self.quoted()?];
        while self.comma() {
            names.push(self.quoted()?);
        }
        match names.pop() {
            Some(only) if names.is_empty() => Ok(Segment::Member(only)),
            last => {
                names.extend(last);
                Ok(Segment::Members(names))
            }
        }
    }

    fn quoted(&mut self) -> Result<String, Wanted> {
        let quote = if self.take("'") { '\'' } else { '"' };
        if quote == '"' {
            self.wanted("\"", "a quoted name")?;
        }
        let (name, rest) = self.rest.split_once(quote).ok_or("a closing quote")?;
        if name.is_empty() {
            return Err("a name");
        }
        self.rest = rest;
        Ok(name.to_owned())
    }

    fn elements(&mut self) -> Result<Segment, Wanted> {
        let first = self.number()?;
        self.spaces();
        if self.take(":") {
            self.spaces();
            return Ok(Segment::Slice(first, self.number()?));
        }
        let first = first.ok_or("an index, a slice, a quoted name or *")?;
        let mut indices = vec![first];
        while self.comma() {
            indices.push(self.number()?.ok_or("an index")?);
        }
        Ok(if indices.len() == 1 { Segment::Element(first) } else { Segment::Elements(indices) })
    }

    fn number(&mut self) -> Result<Option<i64>, Wanted> {
        let is_of_it = |c: char| c == '-' || c.is_ascii_digit();
        let end = self.rest.find(|c| !is_of_it(c)).unwrap_or(self.rest.len());
        if end == 0 {
            return Ok(None);
        }
        let (number, rest) = self.rest.split_at(end);
        let number = number.parse().map_err(|_| "a number")?;
        self.rest = rest;
        Ok(Some(number))
    }

    fn comma(&mut self) -> bool {
        self.spaces();
        let there = self.take(",");
        self.spaces();
        there
    }

    fn spaces(&mut self) {
        self.rest = self.rest.trim_start_matches(' ');
    }

    fn take(&mut self, token: &str) -> bool {
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn wanted(&mut self, token: &str, wanted: Wanted) -> Result<(), Wanted> {
        if self.take(token) { Ok(()) } else { Err(wanted) }
    }
}

#[cfg(test)]
mod tests {
    use super::Segment::{All, Element, Elements, Member, Members, Slice};
    use super::{Path, Segment};

    #[test]
    fn filters_as_they_are_documented() {
        let name = |name: &str| Member(name.to_owned());
        let names = |names: &[&str]| Members(names.iter().map(|n| (*n).to_owned()).collect());
        let table: Vec<(&str, Vec<Segment>)> = vec![
            ("", vec![]),
            ("$", vec![]),
            ("$.features", vec![name("features")]),
            ("$.a.b_c-d", vec![name("a"), name("b_c-d")]),
            ("$.*", vec![All]),
            ("$[*]", vec![All]),
            ("$['id']", vec![name("id")]),
            ("$[\"id\"]", vec![name("id")]),
            ("$['id','SageMakerOutput']", vec![names(&["id", "SageMakerOutput"])]),
            ("$.field1.['child1', 'child2']", vec![name("field1"), names(&["child1", "child2"])]),
            ("$['a b']['c.d']", vec![name("a b"), name("c.d")]),
            ("$[0]", vec![Element(0)]),
            ("$[0,-1]", vec![Elements(vec![0, -1])]),
            ("$[1:]", vec![Slice(Some(1), None)]),
            ("$[:-1]", vec![Slice(None, Some(-1))]),
            ("$[1:3]", vec![Slice(Some(1), Some(3))]),
            ("$[:]", vec![Slice(None, None)]),
            ("$.a[0].b[*]", vec![name("a"), Element(0), name("b"), All]),
        ];
        for (path, segments) in table {
            assert_eq!(Path::parse(path), Ok(Path { segments }), "{path}");
        }
    }

    #[test]
    fn what_is_not_of_the_subset_says_where() {
        for (path, at, wanted) in [
            ("features", 1, "$"),
            ("$features", 2, "a dot or a bracket"),
            ("$.", 3, "a name"),
            ("$..a", 3, "a name"),
            ("$[", 3, "an index, a slice"),
            ("$[1", 4, "a closing bracket"),
            ("$[1,]", 5, "an index"),
            ("$[1-2]", 3, "a number"),
            ("$['a]", 4, "a closing quote"),
            ("$['a',b]", 7, "a quoted name"),
            ("$['']", 4, "a name"),
            ("$[?(@.a)]", 3, "an index, a slice"),
            ("$.é[x]", 5, "an index, a slice"),
            ("$[99999999999999999999]", 3, "a number"),
        ] {
            let error = Path::parse(path).unwrap_err().to_string();
            assert!(error.contains(&format!("at character {at} ")), "{error}");
            assert!(error.contains(wanted), "{error}");
        }
        let long = format!("$.{}", "é".repeat(62));
        assert!(Path::parse(&long).unwrap_err().to_string().contains("longer than 63"));
        assert!(Path::parse(&format!("$.{}", "é".repeat(61))).is_ok());
    }

    #[test]
    fn rows_have_columns_only() {
        for (path, fits) in
            [("$", true), ("$[1:]", true), ("$[*]", true), ("$.a", false), ("$[0][1]", false)]
        {
            assert_eq!(Path::parse(path).unwrap().fits_rows(), fits, "{path}");
        }
    }
}
