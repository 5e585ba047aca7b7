//! `DataProcessing` and `AssembleWith`: what is sent of a record, and what is written of the
//! answer.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::{Batch, Path, Unfit, csv, json};

/// What is done to records and to the model's answers.
#[derive(Debug, Clone)]
pub struct Processing {
    pub input_filter: Path,
    pub output_filter: Path,
    /// `JoinSource: Input`.
    pub joins: bool,
    /// Of the input.
    pub format: Format,
    pub assemble: Assemble,
}

/// SageMaker API: `AssembleWith`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Assemble {
    #[default]
    None,
    Line,
}

/// What filters and joins know of a content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Csv,
    Json,
    /// Bytes that only the model reads.
    Opaque,
}

impl Format {
    /// Of a content type such as `text/csv; charset=utf-8`.
    #[must_use]
    pub fn of(content_type: Option<&str>) -> Self {
        let essence = content_type.and_then(|it| it.split(';').next()).unwrap_or_default();
        match essence.trim().to_ascii_lowercase().as_str() {
            "text/csv" => Self::Csv,
            "application/json"
            | "application/jsonlines"
            | "application/x-jsonlines"
            | "application/x-ndjson" => Self::Json,
            _ => Self::Opaque,
        }
    }
}

impl Processing {
    /// What is sent of a record.
    pub(crate) fn sent<'r>(&self, record: &'r Bytes) -> Result<Cow<'r, [u8]>, Unfit> {
        if self.input_filter.is_root() {
            return Ok(Cow::Borrowed(record));
        }
        let text = text(record)?;
        let mut sent = String::with_capacity(text.len());
        match self.format {
            Format::Csv => {
                for (at, row) in rows(text).enumerate() {
                    sent.push_str(if at > 0 { "\n" } else { "" });
                    csv::filter(&self.input_filter, row, &mut sent)?;
                }
            }
            Format::Json => json::filter(&self.input_filter, text, &mut sent)?,
            Format::Opaque => sent.push_str(text),
        }
        Ok(Cow::Owned(sent.into_bytes()))
    }

    /// Lines without content are no records of formats that say so.
    pub(crate) fn is_blank(&self, line: &[u8]) -> bool {
        match self.format {
            Format::Csv | Format::Json => line.trim_ascii().is_empty(),
            Format::Opaque => false,
        }
    }

    /// The part of the output that comes of a payload and the answer to it.
    ///
    /// # Errors
    /// When the answer has not what a filter or a join needs.
    pub fn written(
        &self,
        batch: &Batch,
        content_type: Option<&str>,
        reply: &Bytes,
    ) -> Result<Bytes, Unfit> {
        if !self.joins && self.output_filter.is_root() {
            return Ok(self.assembled(reply));
        }
        let format = if self.joins { self.format } else { Format::of(content_type) };
        let answer = text(reply).map_err(in_reply)?;
        let replies: Vec<&str> = match format {
            Format::Csv => rows(answer).collect(),
            Format::Json => json::values(answer).map_err(in_reply)?,
            Format::Opaque => {
                return Err(Unfit::OtherFormat(content_type.unwrap_or_default().to_owned()));
            }
        };
        let mut out = Out {
            text: String::with_capacity(answer.len() * 2),
            n_records: 0,
            ends_each: self.assemble == Assemble::Line,
            is_rows: format == Format::Csv,
        };
        if self.joins {
            self.join(batch, format, &replies, &mut out)?;
        } else {
            for reply in replies {
                out.begin();
                self.filter(format, reply, &mut out.text).map_err(in_reply)?;
                out.end();
            }
        }
        Ok(out.finish(answer.ends_with('\n')))
    }

    fn join(
        &self,
        batch: &Batch,
        format: Format,
        replies: &[&str],
        out: &mut Out,
    ) -> Result<(), Unfit> {
        let mut inputs = Vec::with_capacity(batch.originals.len());
        for original in &batch.originals {
            let original = text(original)?;
            match format {
                Format::Csv => inputs.extend(rows(original)),
                Format::Json | Format::Opaque => inputs.push(original),
            }
        }
        if inputs.len() != replies.len() {
            let (records, replies) = (inputs.len(), replies.len());
            return Err(Unfit::OtherCount { records, replies });
        }
        let mut joined = String::new();
        for (input, reply) in inputs.into_iter().zip(replies) {
            joined.clear();
            match format {
                Format::Csv => csv::join(input, reply, &mut joined),
                Format::Json | Format::Opaque => json::join(input, reply, &mut joined)?,
            }
            out.begin();
            self.filter(format, &joined, &mut out.text)?;
            out.end();
        }
        Ok(())
    }

    fn filter(&self, format: Format, record: &str, out: &mut String) -> Result<(), Unfit> {
        match format {
            Format::Csv => csv::filter(&self.output_filter, record, out),
            Format::Json | Format::Opaque => json::filter(&self.output_filter, record, out),
        }
    }

    /// An answer as it is, but that with `Line` it ends with one newline.
    fn assembled(&self, reply: &Bytes) -> Bytes {
        if self.assemble == Assemble::None || reply.ends_with(b"\n") {
            return reply.clone();
        }
        let mut out = BytesMut::with_capacity(reply.len() + 1);
        out.extend_from_slice(reply);
        out.extend_from_slice(b"\n");
        out.freeze()
    }
}

/// Records that are put together.
struct Out {
    text: String,
    n_records: usize,
    /// Each record ends with a newline.
    ends_each: bool,
    /// There is a newline between two records.
    is_rows: bool,
}

impl Out {
    fn begin(&mut self) {
        if self.n_records > 0 && self.is_rows && !self.ends_each {
            self.text.push('\n');
        }
        self.n_records += 1;
    }

    fn end(&mut self) {
        if self.ends_each {
            self.text.push('\n');
        }
    }

    fn finish(mut self, answer_was_ended: bool) -> Bytes {
        if self.is_rows && !self.ends_each && answer_was_ended {
            self.text.push('\n');
        }
        self.text.into()
    }
}

/// The rows of a CSV text. Lines without content are none.
fn rows(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').map(|row| row.trim_end_matches('\r')).filter(|row| !row.trim().is_empty())
}

fn text(bytes: &[u8]) -> Result<&str, Unfit> {
    std::str::from_utf8(bytes).map_err(|_| Unfit::NotText)
}

fn in_reply(reason: Unfit) -> Unfit {
    Unfit::Reply(Box::new(reason))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Assemble, Format, Processing};
    use crate::{Batch, Path};

    fn batch(originals: &[&'static str]) -> Batch {
        let originals = originals.iter().map(|one| Bytes::from_static(one.as_bytes())).collect();
        Batch { first: 1, n_records: 1, payload: Bytes::new(), originals }
    }

    fn processing(format: Format, joins: bool, output_filter: &str) -> Processing {
        Processing {
            input_filter: Path::parse("$").unwrap(),
            output_filter: Path::parse(output_filter).unwrap(),
            joins,
            format,
            assemble: Assemble::Line,
        }
    }

    #[track_caller]
    fn check(processing: &Processing, inputs: &[&'static str], reply: &'static str, wanted: &str) {
        let content_type = match processing.format {
            Format::Csv => Some("text/csv; charset=utf-8"),
            Format::Json => Some("application/jsonlines"),
            Format::Opaque => None,
        };
        let reply = Bytes::from_static(reply.as_bytes());
        let written = processing.written(&batch(inputs), content_type, &reply);
        let written = written.map(|out| String::from_utf8(out.to_vec()).unwrap());
        assert_eq!(written.map_err(|reason| reason.to_string()), Ok(wanted.to_owned()));
    }

    #[test]
    fn answers_end_with_one_newline() {
        let plain = processing(Format::Opaque, false, "$");
        check(&plain, &[], "a\nb", "a\nb\n");
        check(&plain, &[], "a\n", "a\n");
        let as_it_is = Processing { assemble: Assemble::None, ..plain };
        check(&as_it_is, &[], "a\nb", "a\nb");
    }

    #[test]
    fn joins_and_output_filters() {
        let csv = |filter| processing(Format::Csv, true, filter);
        check(&csv("$"), &["id1,1,2\r", "id2,3,4"], "0.1\n0.2\n", "id1,1,2,0.1\nid2,3,4,0.2\n");
        check(&csv("$[0,-1]"), &["id1,1", "id2,3"], "0.1\r\n0.2", "id1,0.1\nid2,0.2\n");
        let json = |filter| processing(Format::Json, true, filter);
        check(
            &json("$['id','SageMakerOutput']"),
            &["{\"id\":1,\"x\":[1,2]}", "{\"id\":2,\"x\":[3]}"],
            "{\"p\":0.5}\n[0.25]",
            "{\"id\":1,\"SageMakerOutput\":{\"p\":0.5}}\n{\"id\":2,\"SageMakerOutput\":[0.25]}\n",
        );
        check(&json("$.SageMakerOutput"), &["[1]"], "[\n1\n]", "[1]\n");
        check(&processing(Format::Csv, false, "$[0]"), &[], "a,1\nb,2\n", "a\nb\n");
        check(&processing(Format::Json, false, "$.p"), &[], "{\"p\":1}\n{\"p\":2}\n", "1\n2\n");
    }

    #[test]
    fn whole_objects() {
        let whole =
            |format| Processing { assemble: Assemble::None, ..processing(format, true, "$") };
        check(&whole(Format::Csv), &["1,2\n3,4\n"], "a\nb\n", "1,2,a\n3,4,b\n");
        check(&whole(Format::Csv), &["1,2\n3,4\n"], "a\nb", "1,2,a\n3,4,b");
        check(&whole(Format::Json), &["{\n\"a\": 1\n}\n"], "2", "{\"a\":1,\"SageMakerOutput\":2}");
    }

    #[test]
    fn what_does_not_fit() {
        for (processing, inputs, content_type, reply, wanted) in [
            (
                processing(Format::Csv, true, "$"),
                vec!["1", "2"],
                "text/csv",
                "a\n",
                "the model answered 1 records for 2",
            ),
            (
                processing(Format::Csv, true, "$[5]"),
                vec!["1"],
                "text/csv",
                "a\n",
                "it has no element 5, for there are 2",
            ),
            (
                processing(Format::Json, true, "$"),
                vec!["1"],
                "application/json",
                "{",
                "the reply: it is not JSON",
            ),
            (
                processing(Format::Opaque, false, "$.a"),
                vec![],
                "image/png",
                "x",
                "the model answered in \"image/png\"",
            ),
        ] {
            let reply = Bytes::from_static(reply.as_bytes());
            let reason = processing.written(&batch(&inputs), Some(content_type), &reply);
            assert!(reason.unwrap_err().to_string().starts_with(wanted), "{wanted}");
        }
        let reply = Bytes::from_static(b"\xff");
        let reason = processing(Format::Csv, true, "$").written(&batch(&["1"]), None, &reply);
        assert_eq!(reason.unwrap_err().to_string(), "the reply: it is not text in UTF-8");
    }
}
