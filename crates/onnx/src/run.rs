//! Runs a session from several threads at once, on memory of ours.
//!
//! `ort` asks for `&mut Session` to run it, which would make callers wait for each other, or each
//! thread load a model of its own. ONNX Runtime itself lets many threads call `Run` on one
//! session: its maintainers call a session stateless ("you can call Run concurrently", issues 114
//! and 22967 of microsoft/onnxruntime), and it takes a lock of its own around execution providers
//! that say they cannot. `ort`'s author does not trust that promise; nearly all failures on record
//! are of other providers than the CPU's, which is the only one that this crate uses (issue 13571
//! is one of the CPU's, with 1.13.1, never reproduced). So the call goes past `ort` to the C API,
//! here and nowhere else. A provider for GPUs must come with a
//! session a thread, or with proof of its own. `tests/it/concurrent.rs` runs models of several
//! kinds from many threads and compares the answers.
//!
//! Tensors go past `ort` too: for each it asks what we know, copies shapes and names, and makes a
//! description of the memory, which together cost as much as a small model.

use std::ffi::{CStr, CString, c_char, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::slice;

use ort::AsPointer as _;
use ort::memory::MemoryInfo;
use ort::session::Session;
use ort::sys::{ONNXTensorElementDataType, OrtValue};
use ort::value::{DynValue, Tensor as OrtTensor};
use smallvec::SmallVec;

use crate::tensor::{Dtype, Shape, Values, volume};

/// A session of the CPU provider alone, to be run from any thread.
#[derive(Debug)]
pub(crate) struct SharedSession {
    session: Session,
    inputs: Names,
    outputs: Names,
    /// Says that tensors lie in plain memory.
    memory: MemoryInfo<'static>,
}

/// The names of inputs or outputs, as the C API takes them.
#[derive(Debug)]
struct Names {
    pointers: Vec<*const c_char>,
    /// What the pointers point to.
    _names: Vec<CString>,
}

// SAFETY: The pointers are to strings that the struct owns and never changes.
unsafe impl Send for Names {}
// SAFETY: As above; it is only read.
unsafe impl Sync for Names {}

/// A value of an input.
#[derive(Debug)]
pub(crate) enum Input<'a> {
    /// Over memory that lives for `'a`.
    Lent(RawValue, PhantomData<&'a [u8]>),
    /// Strings, which ONNX Runtime keeps in its own form.
    Copied(OrtTensor<String>),
}

/// A value of an output. The session lives as long, for the memory came of its allocator.
#[derive(Debug)]
pub(crate) struct OutputValue<'s> {
    value: RawValue,
    session: &'s Session,
}

/// A value of ONNX Runtime's that is ours to release.
#[derive(Debug)]
pub(crate) struct RawValue(NonNull<OrtValue>);

impl Drop for RawValue {
    fn drop(&mut self) {
        // SAFETY: The pointer is to a value that belongs to us, and is released once.
        unsafe { (ort::api().ReleaseValue)(self.0.as_ptr()) }
    }
}

impl SharedSession {
    /// Takes a session that was built without any execution provider but the CPU's.
    pub(crate) fn new(session: Session) -> Result<Self, ort::Error> {
        let inputs = Names::of(session.inputs())?;
        let outputs = Names::of(session.outputs())?;
        Ok(Self { session, inputs, outputs, memory: MemoryInfo::default() })
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// A tensor over the caller's memory. Strings are copied.
    pub(crate) fn input<'a>(
        &self,
        shape: &[usize],
        values: Values<'a>,
    ) -> Result<Input<'a>, ort::Error> {
        if volume(shape) != Some(values.len()) {
            return Err(ort::Error::new("a tensor must hold as many values as its shape says"));
        }
        let bytes = match values {
            Values::F16(values) => Bytes::of(values),
            Values::F32(values) => Bytes::of(values),
            Values::F64(values) => Bytes::of(values),
            Values::I8(values) => Bytes::of(values),
            Values::I16(values) => Bytes::of(values),
            Values::I32(values) => Bytes::of(values),
            Values::I64(values) => Bytes::of(values),
            Values::U8(values) => Bytes::of(values),
            Values::U16(values) => Bytes::of(values),
            Values::U32(values) => Bytes::of(values),
            Values::U64(values) => Bytes::of(values),
            Values::Bool(values) => Bytes::of(values),
            Values::Str(values) => {
                return OrtTensor::from_string_array((shape, values)).map(Input::Copied);
            }
        };
        let sizes = shape.iter().map(|size| i64::try_from(*size));
        let sizes: SmallVec<[i64; 8]> =
            sizes.collect::<Result<_, _>>().map_err(|_| ort::Error::new("a shape is too large"))?;
        let mut value = ptr::null_mut();
        // SAFETY: The shape says as many values as there are, of the type that is named. ONNX
        // Runtime only reads them, for they are an input; `Input` borrows them for as long as it
        // has the value.
        unsafe {
            ort::Error::result_from_status((ort::api().CreateTensorWithDataAsOrtValue)(
                self.memory.ptr(),
                bytes.start.cast_mut(),
                bytes.length,
                sizes.as_ptr(),
                sizes.len(),
                values.dtype().ort().into(),
                &raw mut value,
            ))?;
        }
        Ok(Input::Lent(RawValue::own(value)?, PhantomData))
    }

    /// Runs the model on a value for each input, in their order; returns one for each output.
    pub(crate) fn run(
        &self,
        inputs: &[Input<'_>],
    ) -> Result<SmallVec<[OutputValue<'_>; 4]>, ort::Error> {
        if inputs.len() != self.inputs.pointers.len() {
            return Err(ort::Error::new("a value for each input is needed"));
        }
        let inputs: SmallVec<[*const OrtValue; 4]> = inputs.iter().map(Input::ptr).collect();
        let n_outputs = self.outputs.pointers.len();
        let mut outputs: SmallVec<[*mut OrtValue; 4]> =
            SmallVec::from_elem(ptr::null_mut(), n_outputs);

        // SAFETY: The session and the values live until this function returns, for `self` and
        // `inputs` are borrowed; names and pointers come in pairs of equal length; null options
        // mean the defaults. `Run` is called on one session by many threads, which the C API
        // allows (see the top of this file): it takes the session as `*mut` but changes nothing
        // in it that is not behind its own locks, and `&Session` gives `ort` no way to change it
        // meanwhile.
        unsafe {
            ort::Error::result_from_status((ort::api().Run)(
                self.session.ptr().cast_mut(),
                ptr::null(),
                self.inputs.pointers.as_ptr(),
                inputs.as_ptr(),
                inputs.len(),
                self.outputs.pointers.as_ptr(),
                n_outputs,
                outputs.as_mut_ptr(),
            ))?;
        }
        // All are owned before one is missed, lest the others leak.
        let owned: SmallVec<[_; 4]> = outputs.into_iter().map(RawValue::own).collect();
        let own = |value: Result<RawValue, ort::Error>| {
            value.map(|value| OutputValue { value, session: &self.session })
        };
        owned.into_iter().map(own).collect()
    }
}

impl Input<'_> {
    fn ptr(&self) -> *const OrtValue {
        match self {
            Self::Lent(value, _) => value.0.as_ptr(),
            Self::Copied(tensor) => tensor.ptr(),
        }
    }
}

impl OutputValue<'_> {
    /// The values of a tensor of numbers, where they lie.
    pub(crate) fn values(&self, dtype: Dtype) -> Result<(Shape, Values<'_>), ort::Error> {
        let (of, shape) = self.describe()?;
        if of != dtype.ort().into() {
            return Err(ort::Error::new(format!("an output is not of {dtype}, as it was said")));
        }
        let n = volume(&shape).ok_or_else(|| ort::Error::new("an output is beyond all sizes"))?;
        let mut start: *const c_void = ptr::null();
        // SAFETY: The value is a tensor, for it has a type and a shape, and lives.
        unsafe {
            let data = (ort::api().GetTensorData)(self.value.0.as_ptr(), &raw mut start);
            ort::Error::result_from_status(data)?;
        }
        // SAFETY: ONNX Runtime says that so many values of that type start there; they live as
        // long as the value, which `self` owns, and nobody changes them.
        let values = unsafe {
            match dtype {
                Dtype::F16 => Values::F16(slice(start, n)),
                Dtype::F32 => Values::F32(slice(start, n)),
                Dtype::F64 => Values::F64(slice(start, n)),
                Dtype::I8 => Values::I8(slice(start, n)),
                Dtype::I16 => Values::I16(slice(start, n)),
                Dtype::I32 => Values::I32(slice(start, n)),
                Dtype::I64 => Values::I64(slice(start, n)),
                Dtype::U8 => Values::U8(slice(start, n)),
                Dtype::U16 => Values::U16(slice(start, n)),
                Dtype::U32 => Values::U32(slice(start, n)),
                Dtype::U64 => Values::U64(slice(start, n)),
                Dtype::Bool => Values::Bool(truths(slice(start, n))?),
                Dtype::Str => return Err(ort::Error::new("strings do not lie in one place")),
            }
        };
        Ok((shape, values))
    }

    /// The type and the shape of a tensor.
    fn describe(&self) -> Result<(ONNXTensorElementDataType, Shape), ort::Error> {
        let mut of = ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
        let (mut sizes, mut n_sizes): (*const i64, usize) = (ptr::null(), 0);
        // SAFETY: The value lives. What is pointed to belongs to it, and is copied at once.
        unsafe {
            ort::Error::result_from_status(
                (ort::api().GetTensorElementTypeAndShapeDataReference)(
                    self.value.0.as_ptr(),
                    &raw mut of,
                    &raw mut sizes,
                    &raw mut n_sizes,
                ),
            )?;
            let sizes: &[i64] = slice(sizes.cast(), n_sizes);
            Ok((of, sizes.iter().map(|size| usize::try_from(*size).unwrap_or(0)).collect()))
        }
    }

    /// The same as a value of `ort`'s, for what is not a tensor of numbers.
    pub(crate) fn into_ort(self) -> DynValue {
        let value = self.value.0;
        std::mem::forget(self.value);
        // SAFETY: The pointer is to a value that belonged to us, and now to `ort` alone. Of the
        // session's allocator only a counted handle is cloned.
        unsafe { DynValue::from_ptr(value, Some(self.session.allocator())) }
    }
}

/// Where values lie, and how long they are.
struct Bytes {
    start: *const c_void,
    length: usize,
}

impl Bytes {
    fn of<T>(values: &[T]) -> Self {
        Self { start: values.as_ptr().cast(), length: size_of_val(values) }
    }
}

/// # Safety
/// As [`slice::from_raw_parts`], but null is taken for an empty slice.
unsafe fn slice<'a, T>(start: *const c_void, n: usize) -> &'a [T] {
    if start.is_null() {
        return &[];
    }
    // SAFETY: The caller says so.
    unsafe { slice::from_raw_parts(start.cast(), n) }
}

/// Bytes as `bool`s, which may be nothing but 0 and 1.
fn truths(bytes: &[u8]) -> Result<&[bool], ort::Error> {
    if bytes.iter().any(|byte| *byte > 1) {
        return Err(ort::Error::new("a bool is neither true nor false"));
    }
    // SAFETY: `bool` is of the size of `u8`, and each byte was seen to be 0 or 1.
    Ok(unsafe { slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) })
}

impl RawValue {
    /// Takes over what the C API made.
    fn own(value: *mut OrtValue) -> Result<Self, ort::Error> {
        NonNull::new(value).map(Self).ok_or_else(|| ort::Error::new("a value is missing"))
    }
}

impl Names {
    fn of(outlets: &[ort::value::Outlet]) -> Result<Self, ort::Error> {
        let names = outlets
            .iter()
            .map(|outlet| CString::new(outlet.name()))
            .collect::<Result<Vec<_>, _>>()?;
        let pointers = names.iter().map(|name| CStr::as_ptr(name)).collect();
        Ok(Self { pointers, _names: names })
    }
}
