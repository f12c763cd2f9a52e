//! What vLLM's V0 engine does for one request to Llama-3.1-8B, by default with two tensor-parallel ranks in each of
//! two pipeline stages, call by call as its source has it (0.8.5: `worker/worker_base.py`,
//! `worker/model_runner.py`, `distributed/parallel_state.py`).

use super::{batch, hello};
use nccltap_collector::collector::Collector;
use nccltap_collector::recording::Recorder;
use nccltap_proto::Function::{
    self, ncclAllGather, ncclAllReduce, ncclBcast, ncclGroupEnd, ncclRecv, ncclSend,
};
use nccltap_proto::record::{NO_PEER, Record};
use nccltap_proto::v1::{self, agent_message::Message};
use std::path::Path;

/// Prompt and generated tokens of the request, as in the paper.
pub const PROMPT: u64 = 128;
pub const OUTPUT: u64 = 128;

const HIDDEN: u64 = 4096;
const LAYERS: usize = 32;
const VOCABULARY: u64 = 128_256;
const FLOAT32: u8 = 7;
const INT32: u8 = 2;
const INT64: u8 = 4;
const BFLOAT16: u8 = 9;

/// Handles of communicators; each rank has one of each kind.
const TENSOR_PYNCCL: u64 = 0x10;
const TENSOR_TORCH: u64 = 0x20;
const PIPELINE_PYNCCL: u64 = 0x30;
const PIPELINE_TORCH: u64 = 0x40;

/// Nanoseconds that a call and the way to the next one take.
const CALL_NS: u64 = 20_000;
/// Nanoseconds between steps.
const STEP_NS: u64 = 5_000_000;

/// Tensor-parallel ranks, and pipeline stages.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub tensor: i32,
    pub stages: i32,
}

/// One rank, with what it has done so far.
pub struct Rank {
    shape: Shape,
    stage: i32,
    tensor: i32,
    pub now: u64,
    pub calls: Vec<Record>,
}

impl Rank {
    /// The rank with this number, which begins at `now`.
    pub fn new(shape: Shape, number: i32, now: u64) -> Self {
        let (stage, tensor) = (number / shape.tensor, number % shape.tensor);
        Self { shape, stage, tensor, now, calls: Vec::new() }
    }

    fn is_last(&self) -> bool {
        self.stage + 1 == self.shape.stages
    }

    fn call(&mut self, function: Function, communicator: u64, datatype: u8, count: u64, peer: i32) {
        self.put(Record { datatype, count, peer, ..Self::of(function, communicator) });
    }

    fn of(function: Function, communicator: u64) -> Record {
        Record { communicator, peer: NO_PEER, function: function.id(), ..Record::default() }
    }

    fn put(&mut self, record: Record) {
        let end = self.now + CALL_NS / 2;
        self.calls.push(Record { start: self.now, end, ..record });
        self.now += CALL_NS;
    }

    fn warm_up(&mut self) {
        self.call(ncclAllReduce, TENSOR_PYNCCL, FLOAT32, 1, NO_PEER);
        if self.shape.stages > 1 {
            self.call(ncclAllReduce, PIPELINE_PYNCCL, FLOAT32, 1, NO_PEER);
        }
    }

    /// The embedding's AllReduce on the first stage, two for each layer.
    fn layers(&mut self, tokens: u64) {
        let embedding = usize::from(self.stage == 0);
        for _ in 0..2 * LAYERS / self.shape.stages as usize + embedding {
            self.call(ncclAllReduce, TENSOR_PYNCCL, BFLOAT16, tokens * HIDDEN, NO_PEER);
        }
    }

    /// PyTorch's gather of the logits: a group of Recv at the root, a Send elsewhere.
    fn logits(&mut self, rows: u64) {
        if !self.is_last() {
            return;
        }
        let part = Record {
            datatype: BFLOAT16,
            count: rows * VOCABULARY / self.shape.tensor as u64,
            group: 1,
            depth: 1,
            ..Self::of(ncclSend, TENSOR_TORCH)
        };
        match self.tensor {
            0 => (1..self.shape.tensor)
                .for_each(|peer| self.put(Record { peer, function: ncclRecv.id(), ..part })),
            _ => self.put(Record { peer: 0, ..part }),
        }
        self.put(Record { group: 1, depth: 1, ..Self::of(ncclGroupEnd, 0) });
    }

    fn metadata(&mut self, tokens: u64, blocks: u64) {
        let mut tensors = vec![(INT64, tokens); 3];
        tensors.extend([(INT32, 1); 2]);
        if blocks > 0 {
            tensors.push((INT32, blocks));
        }
        tensors.extend([(INT32, 2); 2]);
        if self.is_last() {
            tensors.push((INT64, 1));
        }
        for (datatype, count) in tensors {
            self.call(ncclBcast, TENSOR_TORCH, datatype, count, 0);
        }
    }

    /// `hidden_states` and `residual`, of which each rank gets its part from the stage before.
    fn receive(&mut self, tokens: u64) {
        let part = tokens * HIDDEN / self.shape.tensor as u64;
        for _ in 0..2 {
            self.call(ncclRecv, PIPELINE_TORCH, BFLOAT16, part, self.stage - 1);
            self.call(ncclAllGather, TENSOR_TORCH, BFLOAT16, part, NO_PEER);
        }
    }

    /// And sends its part of them to the next one.
    fn send(&mut self, tokens: u64) {
        let part = tokens * HIDDEN / self.shape.tensor as u64;
        for _ in 0..2 {
            self.call(ncclSend, PIPELINE_TORCH, BFLOAT16, part, self.stage + 1);
        }
    }

    /// One step of so many tokens; no blocks are read by that of a fresh prompt.
    pub fn step(&mut self, tokens: u64, blocks: u64) {
        self.metadata(tokens, blocks);
        if self.stage > 0 {
            self.receive(tokens);
        }
        self.layers(tokens);
        if !self.is_last() {
            self.send(tokens);
        }
        self.logits(1);
        self.now += STEP_NS;
    }

    /// What comes before the first request.
    pub fn start_up(&mut self) {
        self.warm_up();
        self.layers(2048);
        self.logits(256);
        self.now += STEP_NS;
    }

    /// Everything, start-up included.
    fn serve(&mut self) {
        self.start_up();
        self.step(PROMPT, 0);
        for decoded in 1..OUTPUT {
            self.step(1, (PROMPT + decoded).div_ceil(16));
        }
    }

    fn number(&self) -> u32 {
        (self.stage * self.shape.tensor + self.tensor).unsigned_abs()
    }

    pub fn communicators(&self) -> Vec<v1::Communicator> {
        let tensor_group = self.stage.unsigned_abs();
        let pipeline_group = self.tensor.unsigned_abs();
        let Shape { tensor, stages } = self.shape;
        let kinds = [
            (TENSOR_PYNCCL, tensor_group, self.tensor, tensor),
            (TENSOR_TORCH, tensor_group, self.tensor, tensor),
            (PIPELINE_PYNCCL, pipeline_group, self.stage, stages),
            (PIPELINE_TORCH, pipeline_group, self.stage, stages),
        ];
        let kinds = kinds.into_iter().filter(|(.., ranks)| *ranks > 1).zip(1u32..);
        let facts = kinds.map(|((handle, group, rank, ranks), id)| v1::Communicator {
            id,
            handle,
            group: 0x1000 + handle + u64::from(group),
            ranks: ranks.unsigned_abs(),
            rank,
            device: self.number() as i32,
            created: 1,
            ..Default::default()
        });
        facts.collect()
    }
}

/// Tells `collector` everything that the four ranks did, as `change` has it.
fn tell(collector: &Collector, mut change: impl FnMut(u32, Record) -> Option<Record>) {
    for number in 0..4 {
        let mut rank = Rank::new(Shape { tensor: 2, stages: 2 }, number, 1_000_000);
        rank.serve();
        let number = rank.number();
        rank.calls = rank.calls.into_iter().filter_map(|call| change(number, call)).collect();
        let (stream, _) = collector.hello(hello(500 + number), 0).unwrap();
        let mut communicators = rank.communicators();
        let mut first = 0;
        for calls in rank.calls.chunks(1000) {
            let recorded = first + calls.len() as u64;
            let end = calls.iter().map(|call| call.end).max().unwrap_or(1);
            let report = v1::Report {
                anchor: Some(v1::Anchor { ticks: end, monotonic_ns: end, realtime_ns: end }),
                communicators: std::mem::take(&mut communicators),
                rings: vec![v1::RingTotals { ring: 0, recorded, ..Default::default() }],
                batches: vec![batch(0, first, calls)],
                ..Default::default()
            };
            collector.take(stream.followed(), Message::Report(report), 0, false);
            first = recorded;
        }
        let goodbye = Message::Goodbye(v1::Goodbye { last: None });
        collector.take(stream.followed(), goodbye, 0, false);
    }
}

/// A recording of it in `file`, without the calls that `lost` takes away.
pub fn record(file: &Path, lost: impl Fn(u32, &Record) -> bool) {
    record_with(file, |rank, call| (!lost(rank, &call)).then_some(call));
}

/// A recording of it in `file`, each call as `change` has it.
pub fn record_with(file: &Path, change: impl FnMut(u32, Record) -> Option<Record>) {
    let recorder = Recorder::open(file, 1 << 30, |_| {}).unwrap();
    let collector = Collector::new(8).recording_to(recorder);
    tell(&collector, change);
    collector.sync().unwrap();
}

/// What vLLM's /metrics says of two requests.
pub const METRICS: &str = r#"# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{le="0.25",model_name="m"} 1.0
vllm:time_to_first_token_seconds_bucket{le="0.5",model_name="m"} 2.0
vllm:time_to_first_token_seconds_bucket{le="+Inf",model_name="m"} 2.0
vllm:time_to_first_token_seconds_sum{model_name="m"} 0.6
vllm:time_to_first_token_seconds_count{model_name="m"} 2.0
vllm:time_per_output_token_seconds_bucket{le="0.025",model_name="m"} 254.0
vllm:time_per_output_token_seconds_bucket{le="+Inf",model_name="m"} 254.0
vllm:time_per_output_token_seconds_sum{model_name="m"} 2.54
vllm:time_per_output_token_seconds_count{model_name="m"} 254.0
vllm:e2e_request_latency_seconds_bucket{le="2.5",model_name="m"} 2.0
vllm:e2e_request_latency_seconds_bucket{le="+Inf",model_name="m"} 2.0
vllm:e2e_request_latency_seconds_sum{model_name="m"} 3.14
vllm:e2e_request_latency_seconds_count{model_name="m"} 2.0
vllm:prompt_tokens_total{model_name="m"} 256.0
vllm:generation_tokens_total{model_name="m"} 256.0
"#;
