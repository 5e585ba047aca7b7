//! Decode, resize, run, the best five: on a thread a core.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use sagebrush_core::task;
use sagebrush_onnx::library;
use sagebrush_onnx::model::{Model, Options};
use sagebrush_onnx::serving_json::ServingConfig;
use sagebrush_onnx::tensor::{Data, Tensor, Values};
use sagebrush_onnx::vision;
use tokio::sync::oneshot;

use super::Handler;

type Job = (Bytes, oneshot::Sender<Result<Bytes>>);

pub(super) struct Pool(mpsc::Sender<Job>);

struct Classifier {
    model: Model,
    input: String,
    config: ServingConfig,
}

impl Pool {
    pub(super) fn start(library: &Path, folder: &Path, threads: usize) -> Result<Self> {
        let environment = library::open(library)?;
        let model = Model::load(&environment, folder, Options { intra_op_threads: 1 })?;
        let input = model.inputs.first().context("the model has no input")?.name.clone();
        let config = ServingConfig::read(folder)?.context("serving.json is missing")?;
        let classifier = Arc::new(Classifier { model, input, config });
        let (sender, jobs) = mpsc::channel::<Job>();
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..threads {
            let (jobs, classifier) = (Arc::clone(&jobs), Arc::clone(&classifier));
            task::thread("compute", move || compute(&jobs, &classifier))?;
        }
        Ok(Self(sender))
    }
}

fn compute(jobs: &Mutex<mpsc::Receiver<Job>>, classifier: &Classifier) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((body, reply)) = job else { return };
        // Whoever hung up is of no interest.
        let _sent = reply.send(classifier.answer(&body));
    }
}

impl Handler for Pool {
    async fn answer(&self, body: Bytes) -> Result<Bytes> {
        let (reply, answer) = oneshot::channel();
        self.0.send((body, reply)).ok().context("the compute threads have ended")?;
        answer.await?
    }
}

impl Classifier {
    fn answer(&self, body: &[u8]) -> Result<Bytes> {
        let image = self.config.image().context("serving.json takes no pictures")?;
        let prepared = vision::prepare(image, "image/jpeg", body)?;
        let data = Data::F32(prepared.tensor);
        let tensor = Tensor { name: self.input.clone(), shape: prepared.shape, data };
        let outputs = self.model.run(&[tensor])?;
        let outputs = outputs.views()?;
        let Some(Values::F32(logits)) = outputs.first().map(|output| output.values) else {
            bail!("the output has another type");
        };
        let most = logits.iter().copied().fold(f32::MIN, f32::max);
        let sum: f32 = logits.iter().map(|logit| (logit - most).exp()).sum();
        let mut ranked: Vec<(usize, f32)> = logits.iter().copied().enumerate().collect();
        ranked.sort_unstable_by(|(_, a), (_, b)| b.total_cmp(a));
        let mut json = String::from("[");
        for (place, (class, logit)) in ranked.iter().take(5).enumerate() {
            let (comma, score) = (if place == 0 { "" } else { "," }, (logit - most).exp() / sum);
            write!(json, "{comma}{{\"class\":{class},\"score\":{score:.6}}}")?;
        }
        json.push(']');
        Ok(json.into())
    }
}
