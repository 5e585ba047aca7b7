//! Runs a session from several threads at once.
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

use std::ffi::{CStr, CString, c_char};
use std::ptr::{self, NonNull};

use ort::AsPointer as _;
use ort::session::{Session, SessionInputValue};
use ort::sys::OrtValue;
use ort::value::DynValue;

/// A session of the CPU provider alone, to be run from any thread.
#[derive(Debug)]
pub(crate) struct SharedSession {
    session: Session,
    inputs: Vec<CString>,
    outputs: Vec<CString>,
}

impl SharedSession {
    /// Takes a session that was built without any execution provider but the CPU's.
    pub(crate) fn new(session: Session) -> Result<Self, ort::Error> {
        let names = |outlets: &[ort::value::Outlet]| {
            outlets.iter().map(|outlet| CString::new(outlet.name())).collect::<Result<Vec<_>, _>>()
        };
        let (inputs, outputs) = (names(session.inputs())?, names(session.outputs())?);
        Ok(Self { session, inputs, outputs })
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Runs the model on a value for each input, in their order; returns one for each output.
    pub(crate) fn run(
        &self,
        values: &[SessionInputValue<'_>],
    ) -> Result<Vec<DynValue>, ort::Error> {
        if values.len() != self.inputs.len() {
            return Err(ort::Error::new("a value for each input is needed"));
        }
        let input_names = pointers(&self.inputs);
        let output_names = pointers(&self.outputs);
        let inputs: Vec<*const OrtValue> = values.iter().map(|value| value.ptr()).collect();
        let mut outputs: Vec<*mut OrtValue> = vec![ptr::null_mut(); self.outputs.len()];

        // SAFETY: The session and the values live until this function returns, for `self` and
        // `values` are borrowed; names and pointers come in pairs of equal length; null options
        // mean the defaults. `Run` is called on one session by many threads, which the C API
        // allows (see the top of this file): it takes the session as `*mut` but changes nothing
        // in it that is not behind its own locks, and `&Session` gives `ort` no way to change it
        // meanwhile.
        unsafe {
            ort::Error::result_from_status((ort::api().Run)(
                self.session.ptr().cast_mut(),
                ptr::null(),
                input_names.as_ptr(),
                inputs.as_ptr(),
                inputs.len(),
                output_names.as_ptr(),
                output_names.len(),
                outputs.as_mut_ptr(),
            ))?;
        }
        let values = outputs.into_iter().map(|output| self.own(output)).collect::<Vec<_>>();
        values.into_iter().collect()
    }

    /// Takes over a value that `Run` made.
    fn own(&self, output: *mut OrtValue) -> Result<DynValue, ort::Error> {
        let output = NonNull::new(output).ok_or_else(|| ort::Error::new("an output is missing"))?;
        // SAFETY: `Run` succeeded, so the pointer is to a value that belongs to the caller, and it
        // is taken over once. Of the session's allocator only a counted handle is cloned.
        Ok(unsafe { DynValue::from_ptr(output, Some(self.session.allocator())) })
    }
}

fn pointers(names: &[CString]) -> Vec<*const c_char> {
    names.iter().map(|name| CStr::as_ptr(name)).collect()
}
