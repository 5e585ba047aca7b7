//! The container contract, spoken with processes and with containers alike: `GET /ping`,
//! `POST /invocations`, and the models of multi-model containers.

mod address;
mod answer;
mod client;
mod connection;
mod failure;
mod health;
mod host;
mod models;
mod pool;
mod stream;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub(crate) use address::Address;
pub(crate) use answer::error_text;
pub(crate) use client::{ContractClient, Paths};
pub(crate) use connection::Connection;
pub(crate) use failure::chain;
pub(crate) use health::{HealthCheck, NotReady, Pulse, first_ping, until_sick};
pub(crate) use host::{ContractHost, Contracted, told};
pub(crate) use stream::told_in_parts;

use std::future::Future;

use futures::future::join_all;
use sagebrush_core::worker::{Call, Reply, WorkerError};

/// Makes each call of a batch by `make`, all at once.
pub(crate) async fn each<F>(
    calls: Vec<Call>,
    make: impl Fn(Call) -> F,
) -> Vec<Result<Reply, WorkerError>>
where
    F: Future<Output = Result<Reply, WorkerError>>,
{
    let mut calls = calls;
    match calls.pop() {
        None => Vec::new(),
        Some(only) if calls.is_empty() => vec![make(only).await],
        Some(last) => {
            calls.push(last);
            join_all(calls.into_iter().map(make)).await
        }
    }
}
