//! Pictures as the model's only input, as `serving.json` says.

use crate::model::Model;
use crate::port::{Mismatch, Port};
use crate::serving_json::{ImageInput, Layout};
use crate::tensor::{Data, Dtype, Shape};
use crate::vision::{self, Geometry, PictureError};

/// How pictures fill a model's input. Made for one model, whose input it fits.
#[derive(Debug)]
pub(crate) struct Picture(ImageInput);

/// Why `serving.json` does not fit the model. Display is fit for a `FailureReason`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MisfitPicture {
    #[error("serving.json fills the input {0:?} with pictures, which the model does not have")]
    NoInput(String),
    #[error("serving.json fills one input with pictures, but the model has {0} inputs")]
    MoreInputs(usize),
    #[error("serving.json says how pictures look, but the model's {0}")]
    Shape(#[from] Mismatch),
    #[error("serving.json fills the input {0:?} with pictures, but the model takes strings there")]
    Strings(String),
}

/// Why a payload does not become the input.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    #[error(transparent)]
    Picture(#[from] PictureError),
    #[error(transparent)]
    Shape(#[from] Mismatch),
}

impl Picture {
    /// Checks that pictures become what the model takes.
    pub(crate) fn new(image: &ImageInput, model: &Model) -> Result<Self, MisfitPicture> {
        let [port] = model.inputs.as_slice() else {
            return Err(MisfitPicture::MoreInputs(model.inputs.len()));
        };
        if let Some(name) = image.tensor.as_ref().filter(|name| **name != port.name) {
            return Err(MisfitPicture::NoInput(name.clone()));
        }
        if port.dtype() == Dtype::Str {
            return Err(MisfitPicture::Strings(port.name.clone()));
        }
        let (width, height) = (image.width as usize, image.height as usize);
        let shape = match image.layout {
            Layout::Nchw => [1, image.depth(), height, width],
            Layout::Nhwc => [1, height, width, image.depth()],
        };
        port.check(&shape)?;
        Ok(Self(image.clone()))
    }

    /// Decodes a picture into the input `port`: its values are added to those in `into`.
    pub(crate) fn read(
        &self,
        port: &Port,
        content_type: &str,
        body: &[u8],
        into: &mut Data,
    ) -> Result<(Shape, Geometry), Unfit> {
        let shape = port.fit_shape(vision::shape(&self.0).into())?;
        if let Data::F32(values) = into {
            let start = values.len();
            values.resize(start + vision::tensor_len(&self.0), 0.0);
            let geometry = vision::prepare_into(&self.0, content_type, body, &mut values[start..])?;
            return Ok((shape, geometry));
        }
        let prepared = vision::prepare(&self.0, content_type, body)?;
        let data = Data::F32(prepared.tensor).convert(port.dtype());
        let data = data.map_err(|why| port.refuse(format!("a picture, where a value {why}")))?;
        into.append(data);
        Ok((shape, prepared.geometry))
    }
}
