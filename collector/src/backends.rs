//! Two witnesses of an engine's all-reduces: what the engine says it gave to each of its backends, and what the tap
//! saw of them.
//!
//! Pure. Both count calls of the host, with their message bytes: a call that goes to a CUDA graph under capture is one
//! call to both, and launches of the graph are none. So a graph does not come between them: what it holds is what
//! was captured, and how often it was launched the tap knows better than any engine.
//!
//! An engine speaks now and then, of what it did until then. What was seen is held against that as it stood when the
//! engine spoke last, so that what it has not spoken of yet is no difference. It may speak of some steps only: what was seen
//! in the others is held against nothing.

use crate::ledger::bytes::message_bytes;
use crate::timeline::{Communicators, OperationCall};
use nccltap_proto::{Backend, Choice, Function, Operation, Path};
use serde::{Deserialize, Serialize};

/// Calls and their message bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calls {
    /// How many.
    pub calls: u64,
    /// Message bytes of all of them, `None` where those of some are not known.
    pub message_bytes: Option<u64>,
}

impl Calls {
    const NONE: Self = Self { calls: 0, message_bytes: Some(0) };

    /// Adds those of another process.
    pub fn add(&mut self, more: Self) {
        self.calls = self.calls.saturating_add(more.calls);
        let both = self.message_bytes.zip(more.message_bytes);
        self.message_bytes = both.map(|(sum, more)| sum.saturating_add(more));
    }
}

/// One backend, by both witnesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Testimony {
    /// The backend.
    pub backend: Backend,
    /// What the engine says.
    pub said: Calls,
    /// What the tap had seen when the engine spoke last.
    pub seen: Calls,
}

impl Testimony {
    /// Whether both say the same, as far as bytes are known to both.
    pub fn agrees(&self) -> bool {
        let bytes = self.said.message_bytes.zip(self.seen.message_bytes);
        self.said.calls == self.seen.calls && bytes.is_none_or(|(said, seen)| said == seen)
    }
}

/// The backends of one process.
#[derive(Clone, Copy, Debug)]
pub struct Backends {
    said: [Calls; Backend::ALL.len()],
    seen: [Calls; Backend::ALL.len()],
    seen_when_said: [Calls; Backend::ALL.len()],
    not_known: u64,
    spoke: bool,
}

impl Default for Backends {
    fn default() -> Self {
        let none = [Calls::NONE; Backend::ALL.len()];
        Self { said: none, seen: none, seen_when_said: none, not_known: 0, spoke: false }
    }
}

impl Backends {
    /// What both witnesses say of each backend that either knows something of. Nothing while the engine has not spoken.
    pub fn testimonies(&self) -> impl Iterator<Item = Testimony> {
        let all = Backend::ALL.into_iter().zip(self.said).zip(self.seen_when_said);
        all.map(|((backend, said), seen)| Testimony { backend, said, seen })
            .filter(|one| self.spoke && (one.said.calls > 0 || one.seen.calls > 0))
    }

    /// Calls of backends that this collector does not know, as the engine says.
    pub fn not_known(&self) -> u64 {
        self.not_known
    }

    /// The host made a call, carried out or captured.
    #[inline]
    pub(crate) fn call(&mut self, call: &OperationCall, communicators: &Communicators) {
        if call.operation != Operation::AllReduce || !is_of_backend(call, communicators) {
            return;
        }
        let Some(seen) = Backend::of(call.path).and_then(|backend| at(&mut self.seen, backend))
        else {
            return;
        };
        let bytes = call.known_elements().and_then(|n| message_bytes(n.into(), call.datatype));
        let message_bytes = bytes.and_then(|bytes| u64::try_from(bytes).ok());
        seen.add(Calls { calls: 1, message_bytes });
    }

    /// The engine speaks.
    pub(crate) fn said(&mut self, choice: &Choice) {
        if *choice == Choice::NOT_SPOKEN_OF {
            self.seen = self.seen_when_said;
            return;
        }
        let Choice { backend, calls, message_bytes, more_follow } = *choice;
        let bytes = calls.saturating_mul(message_bytes);
        match Backend::from_id(backend).and_then(|backend| at(&mut self.said, backend)) {
            Some(said) => said.add(Calls { calls, message_bytes: Some(bytes) }),
            None => self.not_known = self.not_known.saturating_add(calls),
        }
        if !more_follow {
            self.spoke = true;
            self.seen_when_said = self.seen;
        }
    }
}

/// Whether an all-reduce is one that an engine speaks of: of NCCL's those by a communicator of pynccl, since PyTorch's
/// process groups reduce for others too.
fn is_of_backend(call: &OperationCall, communicators: &Communicators) -> bool {
    let pynccl = u32::from(Function::ncclCommInitRank.id());
    let of = || call.communicator.and_then(|id| communicators.get(id));
    call.path != Path::Nccl || of().is_some_and(|facts| facts.created_by == pynccl)
}

fn at(all: &mut [Calls; Backend::ALL.len()], backend: Backend) -> Option<&mut Calls> {
    all.get_mut(backend.id() as usize - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::Launch;
    use nccltap_proto::record::UNKNOWN_COUNT;
    use nccltap_proto::{Datatype, v1};
    use proptest::prelude::*;

    const PYNCCL: u32 = 0;
    const PYTORCH: u32 = 1;

    fn communicators() -> Communicators {
        let mut communicators = Communicators::default();
        for (id, made_by) in
            [(PYNCCL, Function::ncclCommInitRank), (PYTORCH, Function::ncclCommInitRankConfig)]
        {
            let created_by = made_by.id().into();
            let handle = u64::from(id) + 1;
            communicators.learn(&v1::Communicator { id, handle, created_by, ..Default::default() });
        }
        communicators
    }

    fn call(path: Path, communicator: u32, elements: u64) -> OperationCall {
        OperationCall {
            function: Function::ncclAllReduce,
            operation: Operation::AllReduce,
            communicator: Some(communicator),
            elements,
            path,
            datatype: Some(Datatype::Bfloat16),
            peer: None,
            launch: Launch::Eager,
            end: 0,
            duration_ns: None,
        }
    }

    fn choice(backend: Backend, calls: u64, message_bytes: u64) -> Choice {
        Choice { backend: backend.id(), calls, message_bytes, more_follow: false }
    }

    fn testimony(
        backend: Backend,
        said: (u64, Option<u64>),
        seen: (u64, Option<u64>),
    ) -> Testimony {
        let calls = |(calls, message_bytes)| Calls { calls, message_bytes };
        Testimony { backend, said: calls(said), seen: calls(seen) }
    }

    fn told(backends: &Backends) -> Vec<Testimony> {
        backends.testimonies().collect()
    }

    #[test]
    fn what_the_engine_says_is_held_against_what_was_seen() {
        let (mut backends, communicators) = (Backends::default(), communicators());
        for _ in 0..65 {
            backends.call(&call(Path::CustomAllReduce, PYNCCL, 4096), &communicators);
        }
        backends.said(&choice(Backend::Custom, 65, 8192));
        let all = told(&backends);
        let bytes = Some(65 * 8192);
        assert_eq!(all, [testimony(Backend::Custom, (65, bytes), (65, bytes))]);
        assert!(all[0].agrees());
    }

    #[test]
    fn a_kernel_that_the_tap_does_not_know_is_said_and_not_seen() {
        let mut backends = Backends::default();
        backends.said(&choice(Backend::FlashInfer, 3, 16));
        let all = told(&backends);
        assert_eq!(all, [testimony(Backend::FlashInfer, (3, Some(48)), (0, Some(0)))]);
        assert!(!all[0].agrees());
    }

    #[test]
    fn what_the_engine_has_not_spoken_of_yet_is_no_difference() {
        let (mut backends, communicators) = (Backends::default(), communicators());
        let custom = call(Path::CustomAllReduce, PYNCCL, 8);
        backends.call(&custom, &communicators);
        assert_eq!(told(&backends), [], "it has not spoken at all");
        backends.said(&choice(Backend::Custom, 1, 16));
        backends.call(&custom, &communicators);
        assert!(told(&backends).iter().all(Testimony::agrees));
        backends.said(&choice(Backend::Pynccl, 1, 16));
        let differing: Vec<_> = told(&backends).into_iter().filter(|one| !one.agrees()).collect();
        let expected = [
            testimony(Backend::Pynccl, (1, Some(16)), (0, Some(0))),
            testimony(Backend::Custom, (1, Some(16)), (2, Some(32))),
        ];
        assert_eq!(differing, expected);
    }

    #[test]
    fn what_the_engine_does_not_speak_of_is_held_against_nothing() {
        let (mut backends, communicators) = (Backends::default(), communicators());
        let custom = call(Path::CustomAllReduce, PYNCCL, 8);
        for spoken_of in [true, false, false, true, false] {
            if spoken_of {
                backends.said(&Choice::NOT_SPOKEN_OF);
            }
            backends.call(&custom, &communicators);
            if spoken_of {
                backends.said(&choice(Backend::Custom, 1, 16));
            }
        }
        let expected = testimony(Backend::Custom, (2, Some(32)), (2, Some(32)));
        assert_eq!(told(&backends), [expected]);
    }

    #[test]
    fn what_is_said_at_once_is_taken_at_once() {
        let (mut backends, communicators) = (Backends::default(), communicators());
        backends.call(&call(Path::CustomAllReduce, PYNCCL, 8), &communicators);
        backends.call(&call(Path::Nccl, PYNCCL, 8), &communicators);
        let more = Choice { more_follow: true, ..choice(Backend::Custom, 1, 16) };
        backends.said(&more);
        assert_eq!(told(&backends), [], "it has not said all");
        backends.said(&choice(Backend::Pynccl, 1, 16));
        assert!(told(&backends).iter().all(Testimony::agrees));
        assert_eq!(told(&backends).len(), 2);
    }

    #[test]
    fn all_reduces_of_pytorch_and_other_operations_are_nobodys() {
        let (mut backends, communicators) = (Backends::default(), communicators());
        backends.call(&call(Path::Nccl, PYTORCH, 8), &communicators);
        let gather =
            OperationCall { operation: Operation::AllGather, ..call(Path::Nccl, PYNCCL, 8) };
        backends.call(&gather, &communicators);
        backends.call(&call(Path::Nccl, PYNCCL, 8), &communicators);
        backends.said(&choice(Backend::Pynccl, 1, 16));
        assert!(told(&backends).iter().all(Testimony::agrees));
    }

    #[test]
    fn where_a_kernel_does_not_say_its_size_calls_are_compared_alone() {
        let (mut backends, communicators) = (Backends::default(), communicators());
        backends.call(&call(Path::QuickReduce, PYNCCL, UNKNOWN_COUNT), &communicators);
        backends.said(&choice(Backend::QuickReduce, 1, 1 << 20));
        let all = told(&backends);
        assert_eq!((all[0].seen.message_bytes, all[0].agrees()), (None, true));
    }

    #[test]
    fn a_backend_that_is_not_known_is_counted() {
        let mut backends = Backends::default();
        backends.said(&Choice { backend: 77, calls: 5, message_bytes: 8, more_follow: false });
        assert_eq!((told(&backends).len(), backends.not_known()), (0, 5));
    }

    proptest! {
        /// However an honest engine cuts into pieces what it says: the witnesses agree.
        #[test]
        fn an_engine_that_says_what_it_did_agrees_with_what_was_seen(
            steps in prop::collection::vec(
                prop::collection::vec((0usize..Backend::ALL.len(), 1u64..5, 1u64..100), 0..6),
                0..20,
            ),
        ) {
            let (mut backends, communicators) = (Backends::default(), communicators());
            for step in &steps {
                for (backend, calls, elements) in step {
                    let path = Backend::ALL[*backend].paths()[0];
                    for _ in 0..*calls {
                        backends.call(&call(path, PYNCCL, *elements), &communicators);
                    }
                }
                for (at, (backend, calls, elements)) in step.iter().enumerate() {
                    let said = choice(Backend::ALL[*backend], *calls, elements * 2);
                    backends.said(&Choice { more_follow: at + 1 < step.len(), ..said });
                }
                prop_assert!(told(&backends).iter().all(Testimony::agrees));
            }
        }
    }
}
