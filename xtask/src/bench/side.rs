//! Who is measured: our server, the limit, and the peers.

mod child;
mod limit;
mod ours;
mod peers;
mod questions;

use std::time::Duration;

use anyhow::Result;

use super::Bench;
use super::load::{Question, Target};
use super::workload::{Item, Kind};
use crate::server::Server;
use child::Child;

pub(super) use ours::{deploy, fresh as fresh_server, pack};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Ours,
    Limit,
    FastApi,
    MultiModelServer,
    LitServe,
    MlServer,
    BentoMl,
}

/// A side that answers. Dropping it ends it with all that it started.
pub(super) struct Running {
    pub(super) side: Side,
    pub(super) target: Target,
    /// From the start of its process to its first answer.
    pub(super) cold_start: Duration,
    _process: Process,
}

#[expect(dead_code, reason = "held so that it runs")]
enum Process {
    Ours(Server),
    Other(Child),
}

impl Side {
    pub(super) const ALL: [Self; 7] = [
        Self::Ours,
        Self::Limit,
        Self::FastApi,
        Self::MultiModelServer,
        Self::LitServe,
        Self::MlServer,
        Self::BentoMl,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ours => "sagebrush",
            Self::Limit => "limit",
            Self::FastApi => "FastAPI",
            Self::MultiModelServer => "multi-model-server",
            Self::LitServe => "LitServe",
            Self::MlServer => "MLServer",
            Self::BentoMl => "BentoML",
        }
    }

    pub(super) fn is_peer(self) -> bool {
        match self {
            Self::Ours | Self::Limit => false,
            Self::FastApi
            | Self::MultiModelServer
            | Self::LitServe
            | Self::MlServer
            | Self::BentoMl => true,
        }
    }

    /// `MLServer` has no way for a picture but base64 in JSON lists, which would be no fair one.
    pub(super) fn serves(self, kind: Kind) -> bool {
        self != Self::MlServer || kind != Kind::Image
    }

    pub(super) fn start(self, bench: &Bench, kind: Kind) -> Result<Running> {
        match self {
            Self::Ours => ours::start(bench, kind),
            Self::Limit => limit::start(bench, kind),
            Self::FastApi => peers::fastapi(bench, kind),
            Self::MultiModelServer => peers::multi_model_server(bench, kind),
            Self::LitServe => peers::litserve(bench, kind),
            Self::MlServer => peers::mlserver(bench, kind),
            Self::BentoMl => peers::bentoml(bench, kind),
        }
    }

    /// The questions as this side takes them.
    pub(super) fn questions(self, kind: Kind, items: &[Item]) -> Result<Vec<Question>> {
        items.iter().map(|item| questions::question(self, kind, item)).collect()
    }
}
