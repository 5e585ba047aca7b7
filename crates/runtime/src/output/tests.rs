use std::sync::Arc;

use sagebrush_core::logs::{LogSink, LogStream, MemoryLog};
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use super::{LAST_WORDS, LONGEST, Lines, Tail};
use crate::sandbox::tests::{ended, trials};
use crate::tree::Exit;

fn at() -> LogStream {
    LogStream { region: "r".into(), group: "g".into(), stream: "s".into() }
}

/// Sends `printed` through the reader; wants `wanted` in the log.
async fn check(printed: &[u8], wanted: &[&str]) {
    let log = Arc::new(MemoryLog::default());
    let sink: Arc<dyn LogSink> = log.clone();
    let tail = Tail::default();
    Lines::new(&sink, &at(), &tail).pump(printed).await;
    let lines: Vec<String> = log.lines().into_iter().map(|(_, line)| line).collect();
    assert_eq!(lines, wanted);
    let last = wanted.len().saturating_sub(super::KEPT);
    assert_eq!(tail.complete().await, wanted[last..].join("\n"));
}

#[tokio::test]
async fn lines_come_whole() {
    check(b"", &[]).await;
    check(b"one\ntwo\r\n\nthree", &["one", "two", "", "three"]).await;
    check(b"bad \xff byte\n", &["bad \u{fffd} byte"]).await;
    check("begun \u{e9}".as_bytes().split_last().unwrap().1, &["begun ", "\u{fffd}"]).await;
    let many: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    let wanted: Vec<&str> = many.iter().map(String::as_str).collect();
    check(many.join("\n").as_bytes(), &wanted).await;
}

#[tokio::test]
async fn long_lines_are_cut_between_letters() {
    let longest = usize::try_from(LONGEST).unwrap();
    let (full, rest) = ("x".repeat(longest), "y".repeat(10));
    check(format!("{full}{rest}\nz").as_bytes(), &[&full, &rest, "z"]).await;
    check(format!("{full}\nz").as_bytes(), &[&full, "", "z"]).await;
    // A letter of two bytes over the cut.
    let short = "x".repeat(longest - 1);
    check(format!("{short}\u{e9}!").as_bytes(), &[&short, "\u{e9}!"]).await;
    let bad = [&[b'x'; 10][..], &[0xff; 10], full.as_bytes()].concat();
    let cut = format!("{}{}{}", "x".repeat(10), "\u{fffd}".repeat(10), &full[20..]);
    check(&bad, &[&cut, &"x".repeat(20)]).await;
}

#[tokio::test(start_paused = true)]
async fn a_pipe_that_stays_open_does_not_hold_up_a_failure() {
    let (mut write, read) = tokio::io::duplex(64);
    let log: Arc<dyn LogSink> = Arc::new(MemoryLog::default());
    let tail = Tail::default();
    let reading = sagebrush_core::task::spawn("test", Lines::new(&log, &at(), &tail).pump(read));
    write.write_all(b"said\n").await.unwrap();
    let start = Instant::now();
    assert_eq!(tail.complete().await, "said");
    assert_eq!(start.elapsed(), LAST_WORDS);
    drop(write);
    reading.await.unwrap();
    assert_eq!(tail.complete().await, "said");
    assert_eq!(start.elapsed(), LAST_WORDS);
}

/// Counts lines and keeps none.
#[derive(Default)]
struct Count(std::sync::atomic::AtomicUsize);

impl LogSink for Count {
    fn write(&self, _: &LogStream, line: &str) {
        self.0.fetch_add(line.len() + 1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[tokio::test]
async fn floods_pass_and_the_tail_is_whole() {
    for (_, trial) in trials().await {
        let script = "import sys\n\
            for i in range(2000): sys.stdout.write(('x' * 99 + '\\n') * 100)\n\
            print('the end'); sys.stdout.flush(); raise SystemExit('failed')";
        let home = trial.sandbox.home().unwrap();
        let tree = trial.sandbox.start(trial.python(script), &trial.confinement(), home).await;
        let count = Arc::new(Count::default());
        let sink: Arc<dyn LogSink> = count.clone();
        let tree = tree.unwrap();
        let tail = super::follow(&tree, &sink, &at());
        let (exit, text) = ended(&tree, &tail).await;
        assert_eq!(exit, Exit::Code(1));
        assert!(text.contains("the end") && text.contains("failed"), "{text}");
        let written = count.0.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(written, 2000 * 100 * 100 + "the end\nfailed\n".len());
    }
}
