//! Several calls in one run of the model.
//!
//! Their payloads are read one behind the other into the tensors of the run. Calls whose rows
//! differ in their shape, which inputs of any size allow, come into different runs. What fails
//! together is tried once more, one by one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use sagebrush_core::worker::{Call, Reply, Timings, WorkerError};
use smallvec::{SmallVec, smallvec};
use tokio::time::Instant;

use crate::formats::Shapes;
use crate::model::Output;
use crate::predict::{Request, Served, refuse_run};
use crate::tensor::{Data, Shape, Values};

/// Runs do not grow larger than this, in values of an input: memory grows with them, and the
/// first call of a batch waits for the last.
const MOST_VALUES: usize = 4 << 20;

pub(crate) type Answer = Result<Reply, WorkerError>;

/// Answers calls together, each with an answer of its own, in their order. Computes on the
/// calling thread.
pub(crate) fn answer(served: &Served, calls: &[Call]) -> Vec<Answer> {
    let answers = calls.iter().map(|_| None).collect();
    let mut batch = Batch { served, calls, answers, runs: Vec::new() };
    for index in 0..calls.len() {
        batch.read(index);
    }
    for run in std::mem::take(&mut batch.runs) {
        batch.answer(&run);
    }
    batch.answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(crashed()))).collect()
}

struct Batch<'c> {
    served: &'c Served,
    calls: &'c [Call],
    /// In the order of `calls`.
    answers: Vec<Option<Answer>>,
    runs: Vec<Run<'c>>,
}

/// Calls that the model can answer in one run.
struct Run<'c> {
    /// The values of each input, call after call.
    inputs: SmallVec<[Data; 2]>,
    /// The values of the only input, if they are the body of the only call.
    lent: Option<Values<'c>>,
    /// The shape of each input for all calls together.
    shapes: Shapes,
    members: SmallVec<[Member; 1]>,
    /// How many rows each input has; `None` where they differ, and others cannot join.
    n_rows: Option<usize>,
}

/// A call of a run.
struct Member {
    index: usize,
    request: Request,
    first_row: usize,
    n_rows: usize,
    pre: Duration,
    /// When it had been read.
    read_at: Instant,
}

impl<'c> Batch<'c> {
    /// Reads a call's payload into a run.
    fn read(&mut self, index: usize) {
        let call = &self.calls[index];
        let began = Instant::now();
        if began >= call.deadline {
            self.answers[index] = Some(Err(WorkerError::TimedOut));
            return;
        }
        if self.calls.len() == 1
            && let Some((request, shapes, values)) = self.served.lend(call)
        {
            let own = Run::of_one(index, request, shapes, began);
            self.runs.push(Run { lent: Some(values), ..own });
            return;
        }
        let goes_on = |run: &mut Run<'_>| run.n_rows.is_some();
        let mut run = self.runs.pop_if(goes_on).unwrap_or_else(|| Run::new(self.served));
        let before: SmallVec<[usize; 2]> = run.inputs.iter().map(Data::len).collect();
        match shielded(call, || self.served.read(call, &mut run.inputs)) {
            Ok((request, shapes)) => {
                let own = Run::of_one(index, request, shapes, began);
                self.join(run, &before, own);
            }
            Err(error) => {
                self.answers[index] = Some(Err(error));
                run.truncate(&before);
                if !run.members.is_empty() {
                    self.runs.push(run);
                }
            }
        }
    }

    /// Puts a run of one call, whose values stand in `last` behind those of `before`, where it
    /// belongs.
    fn join(&mut self, mut last: Run<'c>, before: &[usize], mut own: Run<'c>) {
        let joins = self.served.takes_batches();
        if last.members.is_empty() {
            own.inputs = last.inputs;
            own.n_rows = own.n_rows.filter(|_| joins);
            self.runs.push(own);
            return;
        }
        if joins && last.takes(&own) {
            last.join(own);
            self.runs.push(last);
            return;
        }
        own.inputs =
            last.inputs.iter_mut().zip(before).map(|(data, n)| data.split_off(*n)).collect();
        self.runs.push(last);
        match self.runs.iter_mut().find(|run| joins && run.takes(&own)) {
            Some(run) => {
                for (data, more) in run.inputs.iter_mut().zip(std::mem::take(&mut own.inputs)) {
                    data.append(more);
                }
                run.join(own);
            }
            None => self.runs.push(own),
        }
    }

    fn answer(&mut self, run: &Run<'_>) {
        let why = match run.members.as_slice() {
            [only] if self.calls.len() == 1 => return self.answer_alone(run, only, only.read_at),
            [only] => return self.answer_alone(run, only, Instant::now()),
            _ => match self.answer_together(run) {
                Ok(()) => return,
                Err(why) => why,
            },
        };
        for member in &run.members {
            self.answer_alone(run, member, Instant::now());
        }
        let is_ok = |member: &Member| matches!(self.answers[member.index], Some(Ok(_)));
        let one_by_one = run.members.iter().all(is_ok);
        if one_by_one {
            self.served.stop_batches(&why);
        }
    }

    /// Answers all calls of a run, or none of them and says why.
    fn answer_together(&mut self, run: &Run<'_>) -> Result<(), String> {
        let n_rows = run.n_rows.unwrap_or_default();
        let began = Instant::now();
        let first = &self.calls[run.members[0].index];
        let compute = || self.served.model.compute(&run.all()).map_err(refuse_run);
        let outputs = shielded(first, compute).map_err(|error| error.to_string())?;
        let views = outputs.views().map_err(|error| error.to_string())?;
        let model = began.elapsed();
        if let Some(output) = views.iter().find(|output| output.n_rows() != Some(n_rows)) {
            let Output { name, shape, .. } = output;
            return Err(format!("the output \"{name}\" is {shape:?} for {n_rows} rows"));
        }
        for member in &run.members {
            let Member { first_row, n_rows, .. } = *member;
            let outputs: SmallVec<[_; 4]> =
                views.iter().map(|output| output.rows(first_row, n_rows)).collect();
            self.answers[member.index] = Some(self.reply(member, &outputs, model, Instant::now()));
        }
        Ok(())
    }

    fn answer_alone(&mut self, run: &Run<'_>, member: &Member, began: Instant) {
        let call = &self.calls[member.index];
        if began >= call.deadline {
            self.answers[member.index] = Some(Err(WorkerError::TimedOut));
            return;
        }
        self.answers[member.index] = Some(shielded(call, || {
            let outputs = self.served.model.compute(&run.part(member)).map_err(refuse_run)?;
            let views = outputs.views().map_err(|error| refuse_run(error.into()))?;
            let ran = Instant::now();
            self.reply(member, &views, ran - began, ran)
        }));
    }

    /// Writes an answer; the run took `model` and ended at `ran`, or another answer was written
    /// until then.
    fn reply(
        &self,
        member: &Member,
        outputs: &[Output<'_>],
        model: Duration,
        ran: Instant,
    ) -> Answer {
        let encode = || self.served.encode(&member.request, outputs);
        let payload = shielded(&self.calls[member.index], encode)?;
        let timings = Timings { pre: member.pre, model, post: ran.elapsed() };
        Ok(Reply { payload, custom_attributes: None, session: None, timings })
    }
}

impl<'c> Run<'c> {
    fn new(served: &Served) -> Self {
        let inputs = served.model.inputs.iter().map(|port| Data::empty(port.dtype())).collect();
        let (shapes, members) = (Shapes::new(), SmallVec::new());
        Self { inputs, lent: None, shapes, members, n_rows: None }
    }

    /// A run of one call, whose values are elsewhere.
    fn of_one(index: usize, request: Request, shapes: Shapes, began: Instant) -> Self {
        let read_at = Instant::now();
        let pre = read_at - began;
        let n_rows = common_rows(&shapes);
        let rows = n_rows.unwrap_or_default();
        let member = Member { index, request, first_row: 0, n_rows: rows, pre, read_at };
        let (inputs, members) = (SmallVec::new(), smallvec![member]);
        Self { inputs, lent: None, shapes, members, n_rows }
    }

    /// Whether the rows of another run can be computed with these.
    fn takes(&self, other: &Self) -> bool {
        let (Some(n), Some(m)) = (self.n_rows, other.n_rows) else { return false };
        let mut pairs = self.shapes.iter().zip(&other.shapes);
        pairs.all(|(ours, theirs)| {
            let width: usize = ours[1..].iter().product();
            ours[1..] == theirs[1..] && (n + m).saturating_mul(width) <= MOST_VALUES
        })
    }

    /// Takes the calls of another run, whose values stand behind ours already.
    fn join(&mut self, other: Self) {
        let first_row = self.n_rows.unwrap_or_default();
        let n_rows = first_row + other.n_rows.unwrap_or_default();
        self.n_rows = Some(n_rows);
        self.shapes.iter_mut().for_each(|shape| shape[0] = n_rows);
        let moved = other.members.into_iter();
        self.members.extend(moved.map(|member| Member { first_row, ..member }));
    }

    fn truncate(&mut self, lengths: &[usize]) {
        self.inputs.iter_mut().zip(lengths).for_each(|(data, n)| data.truncate(*n));
    }

    /// The inputs of all calls.
    fn all(&self) -> SmallVec<[(Shape, Values<'_>); 2]> {
        if let Some(lent) = self.lent {
            return self.shapes.iter().map(|shape| (shape.clone(), lent)).collect();
        }
        let inputs = self.shapes.iter().zip(&self.inputs);
        inputs.map(|(shape, data)| (shape.clone(), data.values())).collect()
    }

    /// The inputs of one call.
    fn part(&self, member: &Member) -> SmallVec<[(Shape, Values<'_>); 2]> {
        let mut inputs = self.all();
        if self.members.len() > 1 {
            for (shape, values) in &mut inputs {
                let width: usize = shape[1..].iter().product();
                let end = member.first_row + member.n_rows;
                *values = values.range(member.first_row * width..end * width);
                shape[0] = member.n_rows;
            }
        }
        inputs
    }
}

/// How many rows all inputs have, at least one; `None` when they differ.
fn common_rows(shapes: &Shapes) -> Option<usize> {
    let n = *shapes.first()?.first()?;
    (n > 0 && shapes.iter().all(|shape| shape.first() == Some(&n))).then_some(n)
}

/// Makes a panic the failure of its call, and not of the thread.
fn shielded<T>(
    call: &Call,
    work: impl FnOnce() -> Result<T, WorkerError>,
) -> Result<T, WorkerError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        tracing::error!(request_id = %call.request_id, "a call panicked");
        Err(crashed())
    })
}

pub(crate) fn crashed() -> WorkerError {
    let message = "the model crashed on this call".to_owned();
    WorkerError::Model { status: 500, message, content_type: None }
}

#[cfg(test)]
mod tests {
    use sagebrush_core::worker::{Call, Payload, WorkerError};
    use tokio::time::Instant;

    use super::shielded;

    #[test]
    fn a_panic_is_the_failure_of_its_call() {
        let call = Call {
            payload: Payload::default(),
            accept: None,
            headers: Vec::new(),
            target_model: None,
            target_container: None,
            request_id: "1".into(),
            deadline: Instant::now(),
        };
        let answer: Result<(), _> = shielded(&call, || panic!("as a test"));
        assert!(matches!(answer, Err(WorkerError::Model { status: 500, .. })), "{answer:?}");
    }
}
