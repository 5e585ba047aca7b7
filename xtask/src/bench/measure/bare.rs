//! The same work without a server: payload to tensor and the session's run, a thread a core.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, bail};
use sagebrush_onnx::library;
use sagebrush_onnx::model::{Model, Options};
use sagebrush_onnx::serving_json::ServingConfig;
use sagebrush_onnx::tensor::{Data, Tensor};
use sagebrush_onnx::vision;
use tokio::time::Instant;

use super::workload::Workload;
use super::{Bounds, Measured, WARM_UP, cpu, histogram, micros};
use crate::interrupt::Interrupt;

pub(super) fn measure(
    library: &Path,
    workload: &Workload,
    bounds: Bounds,
    interrupt: &Interrupt,
) -> Result<Measured> {
    let environment = library::open(library)?;
    // As the server by default: one thread a run, as many runs at once as there are cores.
    let model = Model::load(&environment, &workload.model, Options { intra_op_threads: 1 })?;
    let input = Input::new(&model, workload)?;
    for _ in 0..WARM_UP.min(bounds.calls) {
        model.run(&[input.tensor()?])?;
    }
    let pid = std::process::id();
    let (cpu_before, began) = (cpu::of(pid)?, Instant::now());
    let begun = AtomicU64::new(0);
    let mut latencies = histogram()?;
    let n_threads = std::thread::available_parallelism()?.get();
    let goes_on = || {
        let more = begun.fetch_add(1, Ordering::Relaxed) < bounds.calls;
        more && began.elapsed() < bounds.time && !interrupt.is_raised()
    };
    std::thread::scope(|scope| -> Result<()> {
        let threads: Vec<_> =
            (0..n_threads).map(|_| scope.spawn(|| run_on(&model, &input, goes_on))).collect();
        for thread in threads {
            let Ok(outcome) = thread.join() else { bail!("a thread panicked") };
            latencies.add(outcome?)?;
        }
        Ok(())
    })?;
    if interrupt.is_raised() {
        bail!("interrupted");
    }
    let (took, cpu) = (began.elapsed(), cpu::of(pid)? - cpu_before);
    Ok(Measured { calls: latencies.len(), took, latencies, cpu })
}

fn run_on(
    model: &Model,
    input: &Input<'_>,
    goes_on: impl Fn() -> bool,
) -> Result<hdrhistogram::Histogram<u64>> {
    let mut latencies = histogram()?;
    while goes_on() {
        let began = Instant::now();
        model.run(&[input.tensor()?])?;
        latencies.record(micros(began.elapsed()))?;
    }
    Ok(latencies)
}

/// What becomes the model's input on each call.
enum Input<'a> {
    /// A row, whose parsing is the server's affair: here it is a tensor already.
    Row(Tensor),
    /// A picture, which is decoded and resized on each call here too.
    Picture { workload: &'a Workload, config: ServingConfig, name: String },
}

impl<'a> Input<'a> {
    fn new(model: &Model, workload: &'a Workload) -> Result<Self> {
        let name = model.inputs.first().context("the model has no input")?.name.clone();
        if let Some(config) = ServingConfig::read(&workload.model)? {
            return Ok(Self::Picture { workload, config, name });
        }
        let text = std::str::from_utf8(&workload.body)?;
        let row: Vec<f32> =
            text.split(',').map(|value| value.trim().parse()).collect::<Result<_, _>>()?;
        Ok(Self::Row(Tensor { name, shape: vec![1, row.len()], data: Data::F32(row) }))
    }

    fn tensor(&self) -> Result<Tensor> {
        match self {
            Self::Row(tensor) => Ok(tensor.clone()),
            Self::Picture { workload, config, name } => {
                let image = config.image().context("serving.json takes no pictures")?;
                let prepared = vision::prepare(image, workload.content_type, &workload.body)?;
                let data = Data::F32(prepared.tensor);
                Ok(Tensor { name: name.clone(), shape: prepared.shape, data })
            }
        }
    }
}
