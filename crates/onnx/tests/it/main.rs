//! Whole launches and calls, on the models in `tests/models`.
//!
//! `SAGEBRUSH_ONNXRUNTIME` names ONNX Runtime's library: `libonnxruntime.so` of its wheel.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails should say where")]

mod support;
mod launches;
mod batches;
mod calls;
mod workers;
mod concurrent;
mod memory;
