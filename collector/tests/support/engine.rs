//! What vLLM's V0 engine does for one request to Llama-3.1-8B with two tensor-parallel ranks in each of two
//! pipeline stages, call by call as its source has it (0.8.5: `worker/worker_base.py`,
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
/// A rank's part of the logits of one row.
const PART: u64 = 64_128;
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

/// One rank, with what it has done so far.
struct Rank {
    stage: i32,
    tensor: i32,
    now: u64,
    calls: Vec<Record>,
}

impl Rank {
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
        self.call(ncclAllReduce, PIPELINE_PYNCCL, FLOAT32, 1, NO_PEER);
    }

    /// The embedding's AllReduce on the first stage, two for each layer.
    fn layers(&mut self, tokens: u64) {
        let embedding = usize::from(self.stage == 0);
        for _ in 0..LAYERS + embedding {
            self.call(ncclAllReduce, TENSOR_PYNCCL, BFLOAT16, tokens * HIDDEN, NO_PEER);
        }
    }

    /// PyTorch's gather of the logits: a group of Recv at the root, a Send elsewhere.
    fn logits(&mut self, rows: u64) {
        if self.stage == 0 {
            return;
        }
        let (function, peer) = if self.tensor == 0 { (ncclRecv, 1) } else { (ncclSend, 0) };
        let call = Record {
            datatype: BFLOAT16,
            count: rows * PART,
            peer,
            group: 1,
            depth: 1,
            ..Self::of(function, TENSOR_TORCH)
        };
        self.put(call);
        self.put(Record { group: 1, depth: 1, ..Self::of(ncclGroupEnd, 0) });
    }

    fn metadata(&mut self, tokens: u64, blocks: u64) {
        let mut tensors = vec![(INT64, tokens); 3];
        tensors.extend([(INT32, 1); 2]);
        if blocks > 0 {
            tensors.push((INT32, blocks));
        }
        tensors.extend([(INT32, 2); 2]);
        if self.stage == 1 {
            tensors.push((INT64, 1));
        }
        for (datatype, count) in tensors {
            self.call(ncclBcast, TENSOR_TORCH, datatype, count, 0);
        }
    }

    /// `hidden_states` and `residual`, of which each rank sends its half.
    fn boundary(&mut self, tokens: u64) {
        let half = tokens * HIDDEN / 2;
        for _ in 0..2 {
            if self.stage == 0 {
                self.call(ncclSend, PIPELINE_TORCH, BFLOAT16, half, 1);
            } else {
                self.call(ncclRecv, PIPELINE_TORCH, BFLOAT16, half, 0);
                self.call(ncclAllGather, TENSOR_TORCH, BFLOAT16, half, NO_PEER);
            }
        }
    }

    fn step(&mut self, tokens: u64, blocks: u64) {
        self.metadata(tokens, blocks);
        if self.stage == 1 {
            self.boundary(tokens);
        }
        self.layers(tokens);
        if self.stage == 0 {
            self.boundary(tokens);
        }
        self.logits(1);
        self.now += STEP_NS;
    }

    /// Everything, start-up included.
    fn serve(&mut self) {
        self.warm_up();
        self.layers(2048);
        self.logits(256);
        self.now += STEP_NS;
        self.step(PROMPT, 0);
        for decoded in 1..OUTPUT {
            self.step(1, (PROMPT + decoded).div_ceil(16));
        }
    }

    fn number(&self) -> u32 {
        (self.stage * 2 + self.tensor).unsigned_abs()
    }

    fn communicators(&self) -> Vec<v1::Communicator> {
        let tensor_group = self.stage.unsigned_abs();
        let pipeline_group = self.tensor.unsigned_abs();
        let kinds = [
            (TENSOR_PYNCCL, tensor_group, self.tensor),
            (TENSOR_TORCH, tensor_group, self.tensor),
            (PIPELINE_PYNCCL, pipeline_group, self.stage),
            (PIPELINE_TORCH, pipeline_group, self.stage),
        ];
        let facts =
            kinds.into_iter().zip(1u32..).map(|((handle, group, rank), id)| v1::Communicator {
                id,
                handle,
                group: 0x1000 + handle + u64::from(group),
                ranks: 2,
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
        let mut rank =
            Rank { stage: number / 2, tensor: number % 2, now: 1_000_000, calls: Vec::new() };
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
