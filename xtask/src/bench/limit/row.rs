//! CSV floats by hand, one run of the session, JSON out: on the thread that has the connection.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use sagebrush_onnx::library;
use sagebrush_onnx::model::{Model, Options};
use sagebrush_onnx::tensor::{Data, Tensor, Values};

use super::Handler;

pub(super) struct Forest {
    model: Model,
    input: String,
}

impl Forest {
    pub(super) fn load(library: &Path, folder: &Path) -> Result<Self> {
        let environment = library::open(library)?;
        let model = Model::load(&environment, folder, Options { intra_op_threads: 1 })?;
        let input = model.inputs.first().context("the model has no input")?.name.clone();
        Ok(Self { model, input })
    }
}

impl Handler for Forest {
    async fn answer(&self, body: Bytes) -> Result<Bytes> {
        let text = std::str::from_utf8(&body)?;
        let row: Vec<f32> = text.split(',').map(str::parse).collect::<Result<_, _>>()?;
        let input =
            Tensor { name: self.input.clone(), shape: vec![1, row.len()], data: Data::F32(row) };
        let outputs = self.model.run(&[input])?;
        let outputs = outputs.views()?;
        let [label, probabilities] = outputs.as_slice() else { bail!("two outputs are wanted") };
        let (Values::I64(label), Values::F32(probabilities)) = (label.values, probabilities.values)
        else {
            bail!("the outputs have other types");
        };
        let mut json = String::with_capacity(128);
        write!(json, "{{\"label\":{label:?},\"probabilities\":[{probabilities:?}]}}")?;
        Ok(json.into())
    }
}
