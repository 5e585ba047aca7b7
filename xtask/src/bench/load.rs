//! The load generator: raw sockets on one thread, and requests whose bytes are made beforehand.

mod answer;
mod closed;
mod connection;
mod deck;
mod expected;
mod open;
mod schedule;
mod tally;
mod timer;

pub(super) use closed::closed;
pub(super) use connection::Connection;
pub(super) use deck::{Deck, Question, SIGNER, Target, request};
pub(super) use expected::{Expected, Rule};
pub(super) use open::{Offer, open};
pub(super) use tally::Tally;
