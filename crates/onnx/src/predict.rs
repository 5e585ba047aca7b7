//! What a model is served with, and the way of a call's payload through it.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sagebrush_core::artifact::ArtifactLease;
use sagebrush_core::logs::{LogSink, LogStream};
use sagebrush_core::worker::{Call, Payload, WorkerError};
use smallvec::smallvec;

use crate::batching::{Asked, Batching};
use crate::formats::{self, Form, Format, FormatError, Shapes, accept};
use crate::model::{Model, Output, RunError};
use crate::picture::{MisfitPicture, Picture, Unfit};
use crate::post::{self, PostProcessor};
use crate::rows::Rows;
use crate::serving_json::{ConfigError, ServingConfig};
use crate::tensor::{Data, Dtype, Values};
use crate::vision::{self, Geometry};

/// A model with what its archive says about pictures, decisions and batches.
pub(crate) struct Served {
    pub(crate) model: Arc<Model>,
    picture: Option<Picture>,
    post: Option<PostProcessor>,
    batching: Batching,
    /// Raised when the model turned out not to answer several calls in one run.
    one_by_one: AtomicBool,
    journal: Journal,
    /// Keeps the model's files while anybody may read them.
    lease: Arc<dyn ArtifactLease>,
}

/// Where lines about the model go.
#[derive(Clone)]
pub(crate) struct Journal {
    pub(crate) sink: Arc<dyn LogSink>,
    pub(crate) stream: LogStream,
}

/// Why an archive's `serving.json` cannot be used. Display is fit for a `FailureReason`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    #[error("The model cannot be served: {0}.")]
    Config(#[from] ConfigError),
    #[error("The model cannot be served: {0}.")]
    Picture(String),
}

/// What a call asks for, besides its values.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Of the answer.
    format: Format,
    form: Form,
    /// Leads from the model's input back to the caller's picture.
    geometry: Option<Geometry>,
}

impl Served {
    /// Joins a model with the `serving.json` of its archive, if there is one. `look` finds out
    /// whether the model's rows may be computed together.
    ///
    /// # Errors
    /// When the file is wrong or does not fit the model.
    pub(crate) fn new(
        model: Arc<Model>,
        lease: Arc<dyn ArtifactLease>,
        asked: Asked,
        journal: Journal,
        look: impl FnOnce(&Model) -> Rows,
    ) -> Result<Self, SetupError> {
        let dir = lease.dir();
        let config = ServingConfig::read(&dir)?;
        let image = config.as_ref().and_then(ServingConfig::image);
        let output = config.as_ref().and_then(ServingConfig::output);
        let picture = image.map(|image| Picture::new(image, &model)).transpose()?;
        let post = output.map(|output| PostProcessor::load(&dir, output)).transpose()?;
        let asked = asked.or(config.as_ref().map(ServingConfig::batch).unwrap_or_default());
        let batching = Batching::of(&model, asked, || look(&model));
        if let Some(remark) = &batching.remark {
            journal.write(remark);
        }
        let one_by_one = AtomicBool::new(batching.size == 1);
        Ok(Self { model, picture, post, batching, one_by_one, journal, lease })
    }

    /// How many calls are answered in one run, at most.
    pub(crate) fn max_batch(&self) -> usize {
        if self.takes_batches() { self.batching.size } else { 1 }
    }

    /// How long a batch may wait to be full.
    pub(crate) fn max_batch_delay(&self) -> Duration {
        self.batching.delay
    }

    pub(crate) fn takes_batches(&self) -> bool {
        !self.one_by_one.load(Ordering::Relaxed)
    }

    /// Answers calls one by one from now on.
    pub(crate) fn stop_batches(&self, why: &str) {
        if !self.one_by_one.swap(true, Ordering::Relaxed) {
            let line = format!(
                "calls are answered one by one from now on, for the model does not answer several \
                 together: {why}"
            );
            self.journal.write(&line);
        }
    }

    /// How large the model's files are.
    pub(crate) fn file_bytes(&self) -> u64 {
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

    /// Reads a call's payload: its values are added to those in `into`, one for each input.
    pub(crate) fn read(
        &self,
        call: &Call,
        into: &mut [Data],
    ) -> Result<(Request, Shapes), WorkerError> {
        let format = self.answer_format(call)?;
        let Payload { content_type, body } = &call.payload;
        let content_type = content_type.as_deref().unwrap_or("application/octet-stream");
        if vision::accepts(content_type) {
            let (shapes, geometry) = self.read_picture(content_type, body, into)?;
            return Ok((Request { format, form: Form::Rows, geometry: Some(geometry) }, shapes));
        }
        let Some(of) = Format::of(content_type) else {
            return Err(refuse(FormatError::UnsupportedType(content_type.to_owned())));
        };
        let request = formats::decode(of, &self.model.inputs, body, into).map_err(refuse)?;
        Ok((Request { format, form: request.form, geometry: None }, request.shapes))
    }

    /// As [`Served::read`], for a payload that need not be copied. `None` for all others.
    pub(crate) fn lend<'c>(&self, call: &'c Call) -> Option<(Request, Shapes, Values<'c>)> {
        let Payload { content_type, body } = &call.payload;
        let of = Format::of(content_type.as_deref()?)?;
        let (shapes, values) = formats::lend(of, &self.model.inputs, body)?;
        let format = self.answer_format(call).ok()?;
        Some((Request { format, form: Form::Rows, geometry: None }, shapes, values))
    }

    fn read_picture(
        &self,
        content_type: &str,
        body: &Bytes,
        into: &mut [Data],
    ) -> Result<(Shapes, Geometry), WorkerError> {
        let inputs = self.model.inputs.as_slice();
        let (Some(picture), [port], [into]) = (&self.picture, inputs, into) else {
            let why = "the model takes no pictures: its archive has no serving.json that says how";
            return Err(error(415, why));
        };
        let read = picture.read(port, content_type, body, into);
        let (shape, geometry) = read.map_err(|unfit| match unfit {
            Unfit::Picture(why) => error(why.status(), why),
            Unfit::Shape(why) => error(400, why),
        })?;
        Ok((smallvec![shape], geometry))
    }

    /// Writes what the model answered to a call.
    pub(crate) fn encode(
        &self,
        request: &Request,
        outputs: &[Output<'_>],
    ) -> Result<Payload, WorkerError> {
        let speaks_tensors = matches!(request.form, Form::OpenInference(_));
        let Some(post) = self.post.as_ref().filter(|_| !speaks_tensors) else {
            let Request { format, form, .. } = request;
            return formats::encode(*format, form, &self.model.name, outputs).map_err(refuse);
        };
        let body = post.apply(&Floats::of(outputs), request.geometry.as_ref());
        let body = body.map_err(|why| error(500, why))?;
        let content_type = Some(Format::Json.content_type().to_owned());
        Ok(Payload { content_type, body: Bytes::from(body) })
    }
}

impl Journal {
    pub(crate) fn write(&self, line: &str) {
        self.sink.write(&self.stream, line);
    }
}

/// The outputs that are numbers, as `f32`.
struct Floats<'o>(Vec<(&'o Output<'o>, Cow<'o, [f32]>)>);

impl<'o> Floats<'o> {
    fn of(outputs: &'o [Output<'o>]) -> Self {
        let number = |output: &'o Output<'o>| Some((output, floats(output.values)?));
        Self(outputs.iter().filter_map(number).collect())
    }
}

/// Values as `f32`; `None` for strings.
fn floats(values: Values<'_>) -> Option<Cow<'_, [f32]>> {
    if let Values::F32(values) = values {
        return Some(Cow::Borrowed(values));
    }
    let Ok(Data::F32(values)) = values.to_data().convert(Dtype::F32) else { return None };
    Some(Cow::Owned(values))
}

impl post::Outputs for Floats<'_> {
    fn tensor(&self, name: &str) -> Option<(Vec<usize>, &[f32])> {
        let (output, values) = self.0.iter().find(|(output, _)| output.name == name)?;
        Some((output.shape.to_vec(), values))
    }

    fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(output, _)| output.name).collect()
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

pub(crate) fn refuse_run(why: RunError) -> WorkerError {
    let status = match why {
        RunError::BadInput(_) => 400,
        RunError::Failed(_) => 500,
    };
    error(status, why)
}

fn error(status: u16, why: impl ToString) -> WorkerError {
    WorkerError::Model { status, message: why.to_string(), content_type: None }
}
