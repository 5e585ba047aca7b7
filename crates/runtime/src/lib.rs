//! Workers out of process: a model's code never runs in ours.
//!
//! - [`python`]: `inference.py` behind a template process that forks workers.
//! - [`process`]: any program that keeps the container contract: `/ping` and `/invocations`.
//! - [`container`]: images, through a Docker-compatible socket.
//! - [`environment`]: what `requirements.txt` asks for, installed once.
//!
//! `contract` is the client that [`process`] and [`container`] speak through.
//!
//! Below them: [`sandbox`] starts programs confined, [`tree`] holds what was started until nothing
//! of it is left, [`output`] brings what they print to the log.

mod contract;

pub mod container;
pub mod environment;
mod models;
pub mod output;
pub mod process;
pub mod python;
pub mod sandbox;
pub mod tree;
