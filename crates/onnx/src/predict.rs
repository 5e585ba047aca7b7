//! The way of one call, from payload to reply.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use sagebrush_core::artifact::ArtifactLease;
use sagebrush_core::worker::{Call, Payload, Reply, Timings, WorkerError};
use tokio::time::Instant;

use crate::formats::{self, Form, Format, FormatError, accept};
use crate::model::{Model, Output, RunError};
use crate::picture::{MisfitPicture, Picture, Unfit};
use crate::post::{self, PostProcessor};
use crate::serving_json::{ConfigError, ServingConfig};
use crate::tensor::{Data, Dtype, Tensor};
use crate::vision::{self, Geometry};

/// A model with what its archive says about pictures and decisions.
pub struct Served {
    pub model: Arc<Model>,
    picture: Option<Picture>,
    post: Option<PostProcessor>,
    /// Keeps the model's files while anybody may read them.
    lease: Arc<dyn ArtifactLease>,
}

/// Why an archive's `serving.json` cannot be used. Display is fit for a `FailureReason`.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("The model cannot be served: {0}.")]
    Config(#[from] ConfigError),
    #[error("The model cannot be served: {0}.")]
    Picture(String),
}

/// A call's payload as tensors, and how its answer is laid out.
struct Request {
    inputs: Vec<Tensor>,
    form: Form,
    /// Leads from the model's input back to the caller's picture.
    geometry: Option<Geometry>,
}

/// Answers a call. Computes on the calling thread.
///
/// # Errors
/// When the payload does not fit the model, the answer is wished in a format that we do not
/// write, or the model fails.
pub fn predict(served: &Served, call: &Call) -> Result<Reply, WorkerError> {
    let began = Instant::now();
    let format = served.answer_format(call)?;
    let request = served.decode(&call.payload)?;
    let decoded = Instant::now();
    let outputs = served.model.run(&request.inputs).map_err(refuse_run)?;
    let ran = Instant::now();
    let payload = served.encode(format, &request, &outputs)?;
    let timings = Timings { pre: decoded - began, model: ran - decoded, post: ran.elapsed() };
    Ok(Reply { payload, custom_attributes: None, timings })
}

impl Served {
    /// Joins a model with the `serving.json` of its archive, if there is one.
    ///
    /// # Errors
    /// When the file is wrong or does not fit the model.
    pub fn new(model: Arc<Model>, lease: Arc<dyn ArtifactLease>) -> Result<Self, SetupError> {
        let dir = lease.dir();
        let config = ServingConfig::read(&dir)?;
        let image = config.as_ref().and_then(ServingConfig::image);
        let output = config.as_ref().and_then(ServingConfig::output);
        let picture = image.map(|image| Picture::new(image, &model)).transpose()?;
        let post = output.map(|output| PostProcessor::load(&dir, output)).transpose()?;
        Ok(Self { model, picture, post, lease })
    }

    /// How large the model's files are.
    pub fn file_bytes(&self) -> u64 {
        self.lease.bytes()
    }

    /// The format of the answer: what the caller accepts, else that of the payload; JSON for
    /// pictures and for decisions.
    fn answer_format(&self, call: &Call) -> Result<Format, WorkerError> {
        let content_type = call.payload.content_type.as_deref().unwrap_or_default();
        let like_the_payload = Format::of(content_type).filter(|_| self.post.is_none());
        let default = like_the_payload.unwrap_or(Format::Json);
        let format = accept::choose(call.accept.as_deref(), default).map_err(refuse)?;
        if self.post.is_some() && format != Format::Json {
            let why = "the model answers with decisions, which are JSON; accept application/json";
            return Err(refuse(FormatError::NotAcceptable(why.to_owned())));
        }
        Ok(format)
    }

    fn decode(&self, payload: &Payload) -> Result<Request, WorkerError> {
        let content_type = payload.content_type.as_deref().unwrap_or("application/octet-stream");
        if vision::accepts(content_type) {
            return self.decode_picture(content_type, &payload.body);
        }
        let Some(format) = Format::of(content_type) else {
            return Err(refuse(FormatError::UnsupportedType(content_type.to_owned())));
        };
        let request = formats::decode(format, &self.model.inputs, &payload.body);
        let formats::Request { inputs, form } = request.map_err(refuse)?;
        Ok(Request { inputs, form, geometry: None })
    }

    fn decode_picture(&self, content_type: &str, body: &Bytes) -> Result<Request, WorkerError> {
        let (Some(picture), [port]) = (&self.picture, self.model.inputs.as_slice()) else {
            let why = "the model takes no pictures: its archive has no serving.json that says how";
            return Err(error(415, why));
        };
        let (tensor, geometry) =
            picture.prepare(port, content_type, body).map_err(|unfit| match unfit {
                Unfit::Picture(why) => error(why.status(), why),
                Unfit::Shape(why) => error(400, why),
            })?;
        Ok(Request { inputs: vec![tensor], form: Form::Rows, geometry: Some(geometry) })
    }

    fn encode(
        &self,
        format: Format,
        request: &Request,
        outputs: &[Output],
    ) -> Result<Payload, WorkerError> {
        let speaks_tensors = matches!(request.form, Form::OpenInference(_));
        let Some(post) = self.post.as_ref().filter(|_| !speaks_tensors) else {
            return formats::encode(format, &request.form, &self.model, outputs).map_err(refuse);
        };
        let body = post.apply(&Floats::of(outputs), request.geometry.as_ref());
        let body = body.map_err(|why| error(500, why))?;
        let content_type = Some(Format::Json.content_type().to_owned());
        Ok(Payload { content_type, body: Bytes::from(body) })
    }
}

/// The outputs that are numbers, as `f32`.
struct Floats<'o>(Vec<(&'o Tensor, Cow<'o, [f32]>)>);

impl<'o> Floats<'o> {
    fn of(outputs: &'o [Output]) -> Self {
        let tensors = outputs.iter().map(|output| &output.tensor);
        Self(tensors.filter_map(|tensor| Some((tensor, floats(&tensor.data)?))).collect())
    }
}

/// Values as `f32`; `None` for strings.
fn floats(data: &Data) -> Option<Cow<'_, [f32]>> {
    if let Data::F32(values) = data {
        return Some(Cow::Borrowed(values));
    }
    let Ok(Data::F32(values)) = data.clone().convert(Dtype::F32) else { return None };
    Some(Cow::Owned(values))
}

impl post::Outputs for Floats<'_> {
    fn tensor(&self, name: &str) -> Option<(Vec<usize>, &[f32])> {
        let (tensor, values) = self.0.iter().find(|(tensor, _)| tensor.name == name)?;
        Some((tensor.shape.clone(), values))
    }

    fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(tensor, _)| tensor.name.as_str()).collect()
    }
}

impl From<MisfitPicture> for SetupError {
    fn from(misfit: MisfitPicture) -> Self {
        Self::Picture(misfit.to_string())
    }
}

fn refuse(why: FormatError) -> WorkerError {
    error(why.status(), why)
}

fn refuse_run(why: RunError) -> WorkerError {
    let status = match why {
        RunError::BadInput(_) => 400,
        RunError::Failed(_) => 500,
    };
    error(status, why)
}

fn error(status: u16, why: impl ToString) -> WorkerError {
    WorkerError::Model { status, message: why.to_string(), content_type: None }
}
