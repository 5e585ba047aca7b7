//! One session, many threads: the answers are those of one thread alone. Many sessions, and no
//! threads but ours.

use std::fs;
use std::path::Path;
use std::thread;

use sagebrush_onnx::model::{Model, Options};
use sagebrush_onnx::tensor::{Data, Dtype, Tensor};

use crate::support::{Folder, library, model_bytes};

const N_THREADS: usize = 8;
const RUNS_PER_THREAD: usize = 400;

/// Inputs that differ from run to run, in their values and their number of rows.
fn inputs(model: &Model, seed: usize) -> Vec<Tensor> {
    let n_rows = 1 + seed % 7;
    let tensor = |port: &sagebrush_onnx::port::Port| {
        let width = port.width().unwrap_or(3);
        let values =
            (0..n_rows * width).map(|at| f64::from(u8::try_from((seed + at) % 8).unwrap()));
        let data = Data::F64(values.collect());
        let data = if port.dtype() == Dtype::Str {
            Data::Str((0..data.len()).map(|at| format!("{seed}-{at}")).collect())
        } else {
            data.convert(port.dtype()).unwrap()
        };
        Tensor { name: port.name.clone(), shape: vec![n_rows, width], data }
    };
    model.inputs.iter().map(tensor).collect()
}

fn check(model: &str, bytes: &[u8]) {
    let folder = Folder::with(&[("model.onnx", bytes)]);
    let dir = sagebrush_core::artifact::ArtifactLease::dir(&*folder);
    let environment = sagebrush_onnx::library::open(Path::new(&library())).unwrap();
    let options = Options { intra_op_threads: 1 };
    let loaded = Model::load(&environment, &dir, options).unwrap();
    // What comes out, in words that can be kept.
    let run = |seed| {
        let outputs = loaded.run(&inputs(&loaded, seed)).unwrap();
        format!("{:?}", outputs.views().unwrap())
    };
    let alone: Vec<String> = (0..RUNS_PER_THREAD).map(run).collect();
    thread::scope(|scope| {
        for thread in 0..N_THREADS {
            let (run, alone) = (&run, &alone);
            scope.spawn(move || {
                for step in 0..RUNS_PER_THREAD {
                    let seed = (step * 31 + thread * 57) % RUNS_PER_THREAD;
                    assert_eq!(run(seed), alone[seed], "{model}, seed {seed}");
                }
            });
        }
    });
}

#[test]
fn answers_do_not_mix() {
    for model in [
        "iris_logistic",
        "iris_forest",
        "iris_zipmap",
        "iris_names",
        "two_inputs",
        "identity_float",
        "identity_string",
        "identity_int64",
    ] {
        let bytes = model_bytes(model);
        check(model, &bytes);
        check(model, &large(&bytes));
    }
}

/// The same model with 4 MiB of words about it: sessions of large files use memory otherwise.
fn large(model: &[u8]) -> Vec<u8> {
    const WORDS: usize = 4 << 20;
    /// `metadata_props` of ONNX's `ModelProto`: a field of a certain length.
    const METADATA: u8 = 14 << 3 | 2;
    /// `value` of its `StringStringEntryProto`.
    const VALUE: u8 = 2 << 3 | 2;
    let field = |tag: u8, content: &[u8]| {
        let mut field = vec![tag];
        let mut length = content.len();
        while length > 0x7f {
            field.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
            length >>= 7;
        }
        field.push(u8::try_from(length).unwrap());
        field.extend_from_slice(content);
        field
    };
    let words = field(METADATA, &field(VALUE, &vec![b'w'; WORDS]));
    [model, &words].concat()
}

/// How many threads this process has. Each test has a process of its own: nobody else starts any.
fn n_threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn sessions_bring_no_threads_of_their_own() {
    let environment = sagebrush_onnx::library::open(Path::new(&library())).unwrap();
    let load = |model: &str, intra_op_threads| {
        let folder = Folder::of(model);
        let dir = sagebrush_core::artifact::ArtifactLease::dir(&*folder);
        let loaded = Model::load(&environment, &dir, Options { intra_op_threads }).unwrap();
        loaded.run(&inputs(&loaded, 1)).unwrap();
        loaded
    };
    let before = n_threads();
    let models = ["iris_forest", "iris_logistic", "identity_float"].map(|model| load(model, 1));
    assert_eq!(n_threads(), before);
    let more = load("iris_logistic", 3);
    assert_eq!(n_threads(), before + 2, "a run of three threads has two helpers");
    drop((models, more));
}
