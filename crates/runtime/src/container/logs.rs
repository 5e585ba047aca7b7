//! What a container prints, brought to the log line by line.

use std::mem;
use std::sync::Arc;

use http::Method;
use sagebrush_core::worker::LaunchSpec;

use super::engine::Engine;
use crate::output::Tail;

/// The longest line; the rest of a longer one is another line.
const LONGEST: usize = 16 << 10;
/// Before each piece stand its stream, three zeros and its length.
const HEADER: usize = 8;

/// Follows the container's output until it ends.
pub(super) async fn follow(engine: Arc<Engine>, id: String, spec: LaunchSpec, tail: Tail) {
    let path = format!("/containers/{id}/logs?follow=1&stdout=1&stderr=1");
    let mut flow = match engine.flow(Method::GET, &path).await {
        Ok(flow) => flow,
        Err(error) => {
            tracing::warn!(container = id, %error, "a container's output is lost");
            return;
        }
    };
    let mut write = |line: &str| {
        tail.push(line);
        spec.log.write(&spec.log_stream, line);
    };
    let mut lines = Lines::default();
    while let Ok(Some(chunk)) = flow.next().await {
        lines.push(&chunk, &mut write);
    }
    lines.finish(&mut write);
}

/// Takes two streams apart that come as one.
#[derive(Default)]
struct Lines {
    header: Vec<u8>,
    /// What is to come of the piece.
    left: usize,
    is_stderr: bool,
    /// What stands of the last line of stdout and of stderr.
    begun: [Vec<u8>; 2],
}

impl Lines {
    fn push(&mut self, mut chunk: &[u8], write: &mut impl FnMut(&str)) {
        while !chunk.is_empty() {
            if self.left == 0 {
                let (header, rest) = chunk.split_at(chunk.len().min(HEADER - self.header.len()));
                self.header.extend_from_slice(header);
                chunk = rest;
                self.begin();
            } else {
                let (piece, rest) = chunk.split_at(chunk.len().min(self.left));
                self.left -= piece.len();
                chunk = rest;
                self.text(piece, write);
            }
        }
    }

    fn begin(&mut self) {
        if let [stream, _, _, _, a, b, c, d] = self.header[..] {
            self.left = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(0);
            self.is_stderr = stream == 2;
            self.header.clear();
        }
    }

    fn text(&mut self, piece: &[u8], write: &mut impl FnMut(&str)) {
        let begun = &mut self.begun[usize::from(self.is_stderr)];
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            for part in part.chunks(LONGEST) {
                begun.extend_from_slice(part);
                if begun.ends_with(b"\n") || begun.len() >= LONGEST {
                    line(&mem::take(begun), write);
                }
            }
        }
    }

    /// Writes lines that have no end.
    fn finish(self, write: &mut impl FnMut(&str)) {
        for begun in self.begun.iter().filter(|begun| !begun.is_empty()) {
            line(begun, write);
        }
    }
}

fn line(bytes: &[u8], write: &mut impl FnMut(&str)) {
    write(String::from_utf8_lossy(bytes).trim_end_matches(['\n', '\r']));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(stream: u8, text: &str) -> Vec<u8> {
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        [&[stream, 0, 0, 0], &length[..], text.as_bytes()].concat()
    }

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let mut found = Vec::new();
        let mut write = |line: &str| found.push(line.to_owned());
        let mut lines = Lines::default();
        for piece in pieces {
            lines.push(piece, &mut write);
        }
        lines.finish(&mut write);
        found
    }

    #[test]
    fn streams_come_apart_whatever_the_pieces() {
        let all =
            [frame(1, "out "), frame(2, "err\r\n"), frame(1, ""), frame(1, "put\n\nx")].concat();
        for size in 1..=all.len() {
            let pieces: Vec<&[u8]> = all.chunks(size).collect();
            assert_eq!(lines(&pieces), ["err", "out put", "", "x"], "{size}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_cut() {
        let long = frame(1, &"x".repeat(LONGEST * 2 + 1));
        let lengths: Vec<usize> = lines(&[&long]).iter().map(String::len).collect();
        assert_eq!(lengths, [LONGEST, LONGEST, 1]);
    }

    proptest! {
        #[test]
        fn nonsense_is_no_fault(pieces in prop::collection::vec(any::<Vec<u8>>(), 0..20)) {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let n_bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
            prop_assert!(lines(&pieces).len() <= n_bytes);
        }
    }
}
