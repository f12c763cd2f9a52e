//! THE TABLE: every metric. Registration, help texts and docs/metrics.md follow from it.

use super::continuity::KEPT_FOR;
use crate::ledger::{DURATION_BUCKETS, SIZE_BUCKETS};

/// A label. Each has a closed set of values or a stated bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub meaning: &'static str,
}

macro_rules! labels {
    ($($constant:ident = $name:literal, $meaning:literal;)*) => {
        $(const $constant: Label = Label { name: $name, meaning: $meaning };)*

        /// Every label.
        pub const LABELS: &[Label] = &[$($constant),*];
    };
}

labels! {
    JOB = "job_name", "`NCCLTAP_JOB` of the process, empty when unset";
    HOST = "host", "host name";
    GROUP = "group", "names a communicator on all its ranks: 16 hexadecimal digits, empty when not known; `other` past the bound of series";
    RANK = "rank", "rank in that communicator, empty when not known; `other` past the bound of series";
    OP = "op", "NCCL's name of the operation without prefix, and `Copy`";
    PHASE = "phase", "`prefill`, `decode`, `mixed`, `startup` or `unknown`";
    PATH = "path", "the way the data takes: `nccl`, `oneccl`, `peer_copy` for CUDA's copies that name both GPUs, or a kernel beside it: `custom_all_reduce`, `quick_reduce`, `symm_mem_multimem`, `symm_mem_one_shot`, `symm_mem_two_shot`, `flashinfer`, `flashinfer_fused`, `flashinfer_all_to_all`, `deepep_ht`, `deepep_ll`";
    LAUNCH = "launch", "`eager` or `graph`";
    RESULT = "result", "name of the `ncclResult_t`; `unwound` when the call was left by an exception or the end of its thread; `other`";
    FATE = "fate", "`seen`, or why the call is in no count: `before` (taken by an earlier collector) or `lost`";
    HOLDS = "holds", "`operations`: of NCCL; `nothing`: of NCCL; `unknown`: their operations are in no count; `captured`: it went to a graph under capture, and nothing was carried out";
    WHY = "why", "`ring_full` or `no_ring`";
    FAULT = "fault", "kind of trouble, explained in proto/src/faults.rs";
    STATE = "state", "`connected`, `disconnected`, `ended`, `recovered` (died, and its ring file was read) or `departed` (made room for others)";
    REASON = "reason", "why the peer was refused";
    SOURCE = "source", "how the phase is known: `plugin` (the engine marks its steps), `startup`, `metadata`, `graph`, `rows`, `padding`, `pipeline` or `sizes` (docs/phases.md); empty when it is not";
    KIND = "kind", "`prefill` or `decode`";
    NAME = "name", "the group by its role, as in reports: `tp0`, `pp1.1`";
    ROLE = "role", "`tensor`, `pipeline`, `data`, `expert` or `world`";
    CONFIDENCE = "confidence", "`stated` when the engine says where its workers stand, `observed` when what runs on the group shows its role, `assumed` when only its ranks suggest it";
    STAGE = "stage", "pipeline stage, from 0; empty when not known";
    BACKEND = "backend", "what an all-reduce is given to, in vLLM's words: `pynccl`, `custom`, `quick_reduce`, `symm_mem`, `flashinfer`, `flashinfer_fused`";
    WITNESS = "witness", "`engine`: as it says, by the plugin or by nccltap.h; `tap`: as seen";
    TENSOR_RANK = "tensor_rank", "rank in the tensor-parallel group; empty when not known";
}

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts per bucket, with sum and count.
    Histogram,
}

impl Kind {
    /// Prometheus' name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// The units that names end with.
const UNITS: [&str; 3] = ["bytes", "seconds", "ratio"];

macro_rules! metrics {
    ($($variant:ident = $kind:ident $name:literal [$($label:ident),*] $help:literal;)*) => {
        /// A metric.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs)]
        pub enum Metric { $($variant,)* }

        impl Metric {
            /// Every metric, in the order in which they are exposed.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name. Of a counter, without the `_total` that is exposed behind it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// How it behaves.
            pub const fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)* }
            }

            /// Its labels.
            pub const fn labels(self) -> &'static [Label] {
                match self { $(Self::$variant => &[$($label),*],)* }
            }

            /// The unit that its name ends with, if any.
            pub fn unit(self) -> Option<&'static str> {
                let last = self.name().rsplit('_').next();
                last.filter(|word| UNITS.contains(word))
            }

            /// The name without the unit behind it.
            pub fn name_without_unit(self) -> &'static str {
                let name = self.name();
                let of_unit = self.unit().map_or(0, |unit| unit.len() + 1);
                &name[..name.len() - of_unit]
            }

            /// What it counts, with unit.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }
        }
    };
}

metrics! {
    Operations = Counter "nccltap_operations" [JOB, HOST, GROUP, RANK, OP, PHASE, PATH, LAUNCH]
        "Operations that NCCL took, as each rank issued them, or as launches of CUDA graphs carried them out; and launches of kernels that carry one out beside NCCL, under their path.";
    MessageBytes = Counter "nccltap_message_bytes" [JOB, HOST, GROUP, RANK, OP, PHASE, PATH, LAUNCH]
        "Bytes of those operations as each rank stated them: NCCL's count argument x element size.";
    BusBytes = Counter "nccltap_bus_bytes" [JOB, HOST, GROUP, RANK, OP, PHASE, PATH, LAUNCH]
        "Bytes that each rank sends through its link at best: message bytes x the correction factor of nccl-tests. Without operations in groups of unknown size.";
    MessageSize = Histogram "nccltap_message_size_bytes" [JOB, HOST, GROUP, RANK, OP, PHASE, PATH, LAUNCH]
        "Message bytes of single operations, by powers of two.";
    OperationSeconds = Histogram "nccltap_operation_seconds" [JOB, HOST, GROUP, RANK, OP, PHASE, PATH, LAUNCH]
        "Seconds a call of NCCL took on the host. The transfer itself goes on on the GPU and is not in it. Operations of graphs are not in it: no call is made for them.";
    GroupOperationIndex = Gauge "nccltap_group_operation_index" [JOB, HOST, GROUP, RANK]
        "Collectives a rank has issued on a communicator so far: grouped operations that are one collective count as one. The rank whose index stays behind that of its group is the late one.";
    Steps = Counter "nccltap_steps" [JOB, HOST, STAGE, TENSOR_RANK, PHASE, SOURCE]
        "Engine steps of workers. A worker of each rank counts each step: look at one rank, or at the largest.";
    Tokens = Counter "nccltap_tokens" [JOB, HOST, STAGE, TENSOR_RANK, KIND]
        "Tokens of those steps whose tokens are known: of prompts (prefill) and of running sequences (decode). Where the engine pads a step, padding is in it unless the last stage or the plugin says otherwise.";
    SpeculativeTokens = Counter "nccltap_speculative_tokens" [JOB, HOST, STAGE, TENSOR_RANK]
        "Of the decode tokens of marked steps: guesses of a draft that were checked.";
    StepRequests = Counter "nccltap_step_requests" [JOB, HOST, STAGE, TENSOR_RANK, KIND]
        "Requests in marked steps, counted in each of their steps. Divided by nccltap_steps_total of source plugin: the mean batch.";
    StepsMarked = Gauge "nccltap_steps_marked" [JOB, HOST, STAGE, TENSOR_RANK]
        "1 where the engine says itself what its steps are, by the plugin or by nccltap.h; 0 where it is inferred.";
    PhaseDisagreements = Counter "nccltap_phase_disagreements" [JOB, HOST]
        "Operations of marked steps of which the sizes alone would have shown another phase than the engine says. The engine's word counts.";
    PhaseWeightedBytes = Counter "nccltap_phase_weighted_bytes" [JOB, HOST, GROUP, RANK, OP, KIND]
        "Message bytes by phase, with those of a mixed step divided by its tokens. Bytes of start-up and of unknown phase are not in it.";
    PhaseUnknownRatio = Gauge "nccltap_phase_unknown_ratio" [JOB, HOST]
        "Share of the operations of engine workers whose phase is not known, of all but start-up.";
    PathSeen = Gauge "nccltap_path_seen" [JOB, HOST, PATH]
        "1 for each way on which operations were seen, NCCL's own or a kernel's beside it. What no tap can see has no series here: docs/coverage.md says which ways these are.";
    BackendCalls = Counter "nccltap_backend_calls" [JOB, HOST, BACKEND, WITNESS]
        "Calls of an engine's all-reduce backends in the steps that it speaks of, as it says and as they were seen. A call captured into a CUDA graph is one, launches of the graph are none. Where the two differ, a path is overlooked, or used by something the engine does not speak of.";
    PredictedOperations = Counter "nccltap_predicted_operations" [JOB, HOST, STAGE, TENSOR_RANK, PHASE, OP]
        "Operations that the engine steps seen so far must have had, by the model that `nccltap serve` was told. Only operations of which every step of a phase has equally many, and those that no step has.";
    ComparedOperations = Counter "nccltap_compared_operations" [JOB, HOST, STAGE, TENSOR_RANK, PHASE, OP]
        "Operations seen of those kinds. Compare their increase with that of nccltap_predicted_operations_total, as deploy/prometheus/rules.yml does.";
    PredictionRatio = Gauge "nccltap_prediction_ratio" [JOB, HOST, STAGE, TENSOR_RANK, PHASE, OP]
        "Operations seen / predicted, over all steps so far. 1 when the engine does what the model says; a step under way makes it a little less or more.";
    GroupInfo = Gauge "nccltap_group_info" [GROUP, NAME, ROLE, CONFIDENCE]
        "1 for each group whose role is known. Join it on `group` to give other metrics the name.";
    OperationInFlightSeconds = Gauge "nccltap_operation_in_flight_seconds" [JOB, HOST, GROUP, RANK, OP]
        "Seconds for which the longest call has been inside NCCL and not come back, when it is more than one second. What hangs is named here.";
    FailedOperations = Counter "nccltap_failed_operations" [JOB, HOST, OP, RESULT]
        "Operations that NCCL refused with an error, or that did not return. They are in no other count of operations.";
    SimulatedOperations = Counter "nccltap_simulated_operations" [JOB, HOST]
        "Operations of groups that ncclGroupSimulateEnd closed: never launched, in no other count.";
    CapturedOperations = Counter "nccltap_captured_operations" [JOB, HOST]
        "Calls of operations that were captured into CUDA graphs: carried out by no call, and counted by the launches.";
    GraphLaunches = Counter "nccltap_graph_launches" [JOB, HOST, HOLDS]
        "Launches of CUDA graphs by what they hold. Operations that launches carried out have the label launch=\"graph\".";
    ConditionalOperations = Counter "nccltap_conditional_operations" [JOB, HOST, OP]
        "Operations in conditional nodes of graphs, once per launch: only the GPU knows how often they ran. They are in no other count, so that counts of the same op are lower bounds.";
    Records = Counter "nccltap_records" [JOB, HOST, FATE]
        "Recorded calls of wrapped functions, and marks of engine steps, by what became of them.";
    RecordsPending = Gauge "nccltap_records_pending" [JOB, HOST]
        "Calls that are recorded and have not reached this collector yet.";
    RecordsDropped = Counter "nccltap_records_dropped" [JOB, HOST, WHY]
        "Calls that the tap saw and could not record. Calls made = records + records pending + records dropped.";
    AccountingErrors = Gauge "nccltap_accounting_errors" []
        "Processes whose counts do not agree with the positions of their records. Anything but 0 is a defect of nccltap.";
    Faults = Counter "nccltap_faults" [JOB, HOST, FAULT]
        "Trouble that taps stepped around.";
    Processes = Gauge "nccltap_processes" [STATE]
        "Processes this collector has heard of.";
    StreamsRefused = Counter "nccltap_streams_refused" [REASON]
        "Peers that were refused.";
    RecordingBytes = Gauge "nccltap_recording_bytes" []
        "Length of the recording in bytes.";
    RecordingStopped = Gauge "nccltap_recording_stopped" []
        "1 when the recording has stopped at its limit or because it could not be written, 0 while all is well.";
    SeriesFolded = Gauge "nccltap_series_folded" []
        "Combinations of labels that are counted under group and rank `other`, because there are more than the bound.";
}

/// What one combination of labels of operations comes to at most: counters, and the buckets of histograms with
/// their sum and count.
const SAMPLES_OF_A_COMBINATION: usize = 3 + (SIZE_BUCKETS + 2) + (DURATION_BUCKETS + 2);

/// docs/metrics.md: the table, for people.
pub fn document(series_bound: usize) -> String {
    use std::fmt::Write;
    let mut text = String::from(
        "# Metrics\n\n\
         `nccltap serve` exposes these at `/metrics`: in the text format 0.0.4, in OpenMetrics 1.0.0 \
         or in Prometheus' protobuf\nformat, whichever the `Accept` header wants, and by gzip \
         where `Accept-Encoding` takes it. This page is generated \
         from `collector/src/outputs/prometheus/table.rs`; a\ntest compares the two.\n\n\
         Bytes are bytes, seconds are seconds, and every number is that of one rank: sum over ranks \
         with PromQL.\n\n\
         | metric | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for metric in Metric::ALL {
        let suffix = if metric.kind() == Kind::Counter { "_total" } else { "" };
        let labels: Vec<_> = metric.labels().iter().map(|label| label.name).collect();
        let _ = writeln!(
            text,
            "| `{}{suffix}` | {} | {} | {} |",
            metric.name(),
            metric.kind().name(),
            labels.join(", "),
            metric.help()
        );
    }
    text.push_str("\n## Labels\n\n| label | values |\n|---|---|\n");
    for label in LABELS {
        let _ = writeln!(text, "| `{}` | {} |", label.name, label.meaning);
    }
    let _ = write!(
        text,
        "\nThere is no `pid` label: a pid says nothing about the place of a process in its job and \
         would make new series at\neach restart. Group and rank say who it is; processes with the \
         same labels are summed. The pid is in\n`/api/v1/processes`.\n\n\
         The label is `job_name` because Prometheus itself sets `job`.\n\n\
         ## How many series there are\n\n\
         At most {series_bound} combinations of job, host, group, rank, op, phase, path and launch \
         have series of their own. Further ones\nare summed under group and rank `other`, and \
         `nccltap_series_folded` says how many they are. A combination has 3 counters\nand 2 histograms, \
         of {sizes} and {durations} samples: {each} samples at most, so {most} in all, and 300 bytes of text each. \
         Of each rank,\ngroup and kind there are a few more; the other metrics have as many series as \
         hosts, jobs and places in the layout.\ndeploy/scaling.md has what a real server comes to.\n\n\
         A process that has ended, or is not connected, keeps its series for {kept} minutes, for its \
         last counts to be scraped.\nThen those that are its alone disappear, and make room for others. \
         Where it shares a counter with processes that go on\n(`nccltap_steps_total` after a restart), \
         what it counted stays in the sum: no counter falls. `nccltap_records_total`,\n\
         `nccltap_records_dropped_total` and `nccltap_processes` remember every process there was.\n\n\
         ## Native histograms\n\n\
         In the protobuf format `nccltap_message_size_bytes` is a native histogram too (schema 0, zero \
         bucket up to 32 bytes): its\nclassic buckets are exactly those. Prometheus asks for it with \
         `--enable-feature=native-histograms`, since 3.9 with\n`scrape_native_histograms: true`; to keep \
         the classic buckets, which the dashboard reads, set `always_scrape_classic_histograms: true`\n\
         beside it. `nccltap_operation_seconds` has classic buckets alone: powers of two in microseconds \
         are none in seconds.\n",
        sizes = SIZE_BUCKETS + 2,
        durations = DURATION_BUCKETS + 2,
        each = SAMPLES_OF_A_COMBINATION,
        most = series_bound * SAMPLES_OF_A_COMBINATION,
        kept = KEPT_FOR.as_secs() / 60,
    );
    text
}
