//! ONNX models, served in process by ONNX Runtime.
//!
//! The way of a call: [`worker`] queues it, a thread of the [`pool`] takes it and runs [`predict`]:
//! the payload becomes tensors ([`formats`], or [`vision`] for pictures), the [`model`] runs on
//! them, and its outputs become the answer ([`formats`], or [`post`] for decisions).
//!
//! The way of a launch: [`runtime`] opens the [`library`] once, the model's file is found
//! ([`find`]), looked into ([`inspect`]) and loaded ([`model`]), once for all its workers
//! ([`cache`]); `serving.json` is read ([`serving_json`]) and the model runs once on zeros.

mod runtime;
pub mod library;
pub mod find;
mod inspect;
mod cache;
pub mod model;
mod run;
mod values;
mod worker;
mod pace;
mod pool;
pub mod predict;
mod picture;
pub mod formats;
pub mod port;
pub mod tensor;
pub mod serving_json;
pub mod vision;
pub mod post;

pub use library::LoadError;
pub use runtime::{INTRA_OP_THREADS, OnnxRuntime, Settings};
