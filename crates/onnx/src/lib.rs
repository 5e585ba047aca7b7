//! ONNX models, served in process by ONNX Runtime.
//!
//! The way of a call: [`worker`] queues it, a thread of the [`pool`] takes it, or several at once,
//! as a [`batch`]: payloads become the tensors of one run ([`formats`], or [`vision`] for
//! pictures), the [`model`] runs on them, and its outputs become the answers ([`formats`], or
//! [`post`] for decisions). [`predict`] says what is done to each.
//!
//! The way of a launch: [`runtime`] opens the [`library`] once, the model's file is found
//! ([`find`]), looked into ([`inspect`]) and loaded ([`model`]), once for all its workers
//! ([`cache`]), for serverless variants from a graph that was optimized before ([`graphs`]);
//! `serving.json` is read ([`serving_json`]), the model runs once on zeros, and
//! [`batching`] decides how many calls it answers at once, for which [`rows`] may look at it.

mod runtime;
pub mod library;
pub mod find;
mod inspect;
mod cache;
mod graphs;
pub mod model;
mod run;
mod values;
mod rows;
mod batching;
mod worker;
mod pace;
mod pool;
mod batch;
mod predict;
mod picture;
pub mod formats;
pub mod port;
pub mod tensor;
pub mod serving_json;
pub mod vision;
pub mod post;

pub use batching::{MAX_BATCH_DELAY_MS, MAX_BATCH_SIZE};
pub use library::LoadError;
pub use runtime::{INTRA_OP_THREADS, OnnxRuntime, Settings};
