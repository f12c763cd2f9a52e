//! What is shown of a running collector: one type, which the page and `nccltap top` both read.

use crate::outputs::processes::LaunchesView;
use crate::outputs::report::summary::LayoutView;
use crate::outputs::report::timeline::Timeline;
use crate::process::Accounting;
use serde::{Deserialize, Serialize};

/// Everything that is shown, as of one moment. Lists are bounded; each says how many are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Live {
    /// Version of nccltap.
    pub nccltap: String,
    /// When this collector came to life, milliseconds since 1970. Another number is another collector.
    pub collector: u64,
    /// Number of this snapshot, from 1.
    pub number: u64,
    /// When it was taken, milliseconds since 1970.
    pub at_ms: u64,
    /// The same in whole seconds since the collector came to life: a clock that never jumps.
    pub second: u64,
    /// When the newest report of any process was made, milliseconds since 1970 by the clock of its host.
    pub newest_ms: Option<u64>,
    /// Rates are means over so many seconds before it; 0 when there are none yet.
    pub window_seconds: f64,
    /// Names of jobs, at most 16.
    pub jobs: Vec<String>,
    /// Hosts that ranks run on.
    pub hosts: u32,
    /// The layout of each engine that was recognised.
    pub layouts: Vec<LayoutView>,
    /// Over all ranks, start-up left out. A transfer counts once, where it is sent.
    pub totals: Volume,
    /// What somebody should look at, worst first.
    pub attention: Vec<Attention>,
    /// Processes that gave operations to NCCL, by their place in the layout. Their number is their
    /// position here.
    pub ranks: Vec<Rank>,
    /// Further ones.
    pub ranks_left_out: u64,
    /// By phase, collective and role of the group, summed over ranks.
    pub traffic: Vec<Traffic>,
    /// How large messages are, start-up left out.
    pub sizes: Vec<Size>,
    /// Who sends to whom, start-up left out.
    pub peers: Peers,
    /// Ranks of a group beside each other: the one furthest behind first.
    pub groups: Vec<Group>,
    /// Further ones, with nobody further behind.
    pub groups_left_out: u64,
    /// Engine steps of the worker that has most of a phase.
    pub steps: Vec<Steps>,
    /// The last seconds, one by one, oldest first.
    pub recent: Vec<Second>,
    /// The whole run, more coarsely.
    pub run: Timeline,
    /// Which paths are seen.
    pub coverage: Coverage,
    /// Where the calls of all processes have gone.
    pub accounting: Accounting,
    /// Operations that wait until it is known what their step serves: in no rate yet.
    pub waiting: u64,
    /// What is missing from the numbers or in doubt, a sentence each.
    pub missing: Vec<String>,
    /// Further sentences.
    pub missing_left_out: u64,
    /// Operations seen against those that a named model has, `None` when no model was named.
    pub prediction: Option<Vec<Prediction>>,
}

/// So many operations, and per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Volume {
    /// Operations.
    pub operations: u64,
    /// Bytes as each rank stated them.
    pub message_bytes: u64,
    /// Bytes that cross the links at best.
    pub bus_bytes: u64,
    /// Operations per second.
    pub operations_rate: f64,
    /// Message bytes per second.
    pub message_rate: f64,
    /// Bus bytes per second.
    pub bus_rate: f64,
}

/// Something that somebody should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attention {
    /// How bad it is.
    pub severity: Severity,
    /// What it is, in a sentence.
    pub sentence: String,
    /// The view that says more: `ranks`, `coverage` or `prediction`.
    pub view: String,
}

/// How bad something is, worst first. A closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Serving has stopped, or a rank has.
    Bad,
    /// Numbers are incomplete, or a rank is late.
    Doubt,
}

/// One rank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rank {
    /// Host name.
    pub host: String,
    /// Process id.
    pub pid: u32,
    /// The job, empty when it has none.
    pub job: String,
    /// Which copy of the model, where its place is known.
    pub data: Option<u32>,
    /// Pipeline stage.
    pub stage: Option<u32>,
    /// Tensor-parallel rank.
    pub tensor: Option<u32>,
    /// How it is.
    pub state: State,
    /// What it sends, start-up left out.
    #[serde(flatten)]
    pub volume: Volume,
    /// Seconds since its number of operations last grew, as far as this collector watched.
    pub still_seconds: f64,
    /// Seconds since it last reported.
    pub silent_seconds: f64,
    /// Most collectives that it is behind in any group; null where that cannot be told.
    pub behind: Option<u64>,
    /// Late by at least so many seconds: the first of a group was further then than this rank is now. 0 for less than
    /// half a second; it is seen up to two seconds back.
    pub behind_seconds: Option<f64>,
    /// The call it has been inside for longest, when that is more than a second.
    pub inside: Option<Inside>,
    /// Calls that are in no count: dropped, not recorded or lost.
    pub dropped: u64,
}

/// How a rank is. A closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It issues operations.
    Running,
    /// It has issued none for three seconds, and nobody waits for it.
    Idle,
    /// Some of its calls are in no count.
    Drops,
    /// The others of a group are ahead.
    Late,
    /// The others of a group are ahead, and it has issued nothing for three seconds.
    Stopped,
    /// It has been inside one call for five seconds.
    Inside,
    /// It has not reported for five seconds.
    Silent,
    /// Its stream has ended, and it said no Goodbye.
    Gone,
    /// It said Goodbye.
    Ended,
    /// It died, and its ring file was read.
    Recovered,
}

impl State {
    /// Whether it is one to look at, and how bad it is.
    pub const fn severity(self) -> Option<Severity> {
        match self {
            Self::Running | Self::Idle | Self::Ended | Self::Recovered => None,
            Self::Drops | Self::Late => Some(Severity::Doubt),
            Self::Stopped | Self::Inside | Self::Silent | Self::Gone => Some(Severity::Bad),
        }
    }

    /// Whether the process is there, and says so.
    pub const fn is_here(self) -> bool {
        !matches!(self, Self::Gone | Self::Ended | Self::Recovered)
    }

    /// The name on the screen.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Idle => "idle",
            Self::Drops => "drops",
            Self::Late => "late",
            Self::Stopped => "stopped",
            Self::Inside => "inside",
            Self::Silent => "silent",
            Self::Gone => "gone",
            Self::Ended => "ended",
            Self::Recovered => "recovered",
        }
    }
}

/// A call that has not come back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inside {
    /// The function.
    pub function: String,
    /// The group.
    pub group: Option<String>,
    /// For so long.
    pub seconds: f64,
}

/// What one phase does with one collective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// The phase.
    pub phase: String,
    /// The collective.
    pub collective: String,
    /// What the groups are for.
    pub role: Option<String>,
    /// The sums over ranks.
    #[serde(flatten)]
    pub volume: Volume,
}

/// Messages of one phase and collective up to a size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Size {
    /// The phase.
    pub phase: String,
    /// The collective.
    pub collective: String,
    /// Bytes of one message are at most this, a power of two, and more than half of it.
    pub up_to_bytes: u64,
    /// How many.
    pub count: u64,
    /// Per second.
    pub rate: f64,
    /// Their message bytes.
    pub message_bytes: u64,
}

/// Who sends to whom, see [`transfers`](crate::outputs::report::transfers).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Peers {
    /// The cells with most bytes, by sender and receiver.
    pub cells: Vec<Cell>,
    /// Further ones.
    pub cells_left_out: u64,
    /// Operations of unknown group, rank or data type.
    pub operations_without_place: u64,
}

/// Bytes from one rank to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The sender's number, null when it is not tapped.
    pub from: Option<u32>,
    /// The receiver's.
    pub to: Option<u32>,
    /// By Send and others that name their peer.
    pub named_bytes: u64,
    /// By collectives, told as rings.
    pub ring_bytes: u64,
    /// Both, per second.
    pub rate: f64,
}

/// The ranks of one group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// By its role, or 16 hexadecimal digits.
    pub name: String,
    /// What it is for.
    pub role: Option<String>,
    /// How many ranks it has.
    pub ranks: u32,
    /// Collectives per second, of the rank that does most.
    pub rate: f64,
    /// Most that a rank is behind.
    pub behind: u64,
    /// Those that are seen, by rank in the group.
    pub members: Vec<Member>,
}

/// One rank of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its rank in the group.
    pub rank: i32,
    /// Its number among the ranks, null when it is left out there.
    pub number: Option<u32>,
    /// Collectives it has issued.
    pub index: u64,
    /// Behind the one that has issued most; null when some of its calls are not counted.
    pub behind: Option<u64>,
}

/// Engine steps of one phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Steps {
    /// The phase.
    pub phase: String,
    /// How it is known, most of them.
    pub source: Option<String>,
    /// How many.
    pub steps: u64,
    /// Per second.
    pub rate: f64,
    /// Their tokens, null where these are not known.
    pub tokens: Option<u64>,
    /// Tokens per second.
    pub tokens_rate: f64,
}

/// Rates in one second, by phase: prefill, decode, mixed, startup, unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Second {
    /// Seconds since the collector came to life, at its end.
    pub second: u64,
    /// Engine steps per second, of the worker that had most.
    pub steps: [u64; 5],
    /// Operations per second, of all ranks.
    pub operations: [u64; 5],
    /// Message bytes per second of all ranks, as each stated them; Recv and roots of Gathers are in it.
    pub message_bytes: [u64; 5],
}

/// Which paths are seen, and by which doors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// The ways that data took.
    pub paths: Vec<PathSeen>,
    /// A sentence for each collective of each phase that went past NCCL, wholly or in part.
    #[serde(default)]
    pub ways: Vec<String>,
    /// Libraries that the tap stands in front of.
    pub libraries: Vec<LibrarySeen>,
    /// Further ones.
    pub libraries_left_out: u64,
    /// Launches of CUDA graphs.
    pub launches: LaunchesView,
    /// Workers of engines.
    pub engine_workers: u32,
    /// Those whose engine marks its steps.
    pub marked_workers: u32,
    /// Share of the operations after start-up whose phase is not known.
    pub unknown_share: Option<f64>,
}

/// One way that data took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PathSeen {
    /// The path.
    pub path: String,
    /// `eager` or `graph`.
    pub launch: String,
    /// Operations.
    pub operations: u64,
    /// Per second.
    pub rate: f64,
}

/// A library, in one or several processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibrarySeen {
    /// `NCCL`, `CUDA runtime` or `CUDA driver`.
    pub kind: String,
    /// Name of its file.
    pub file: String,
    /// Its version.
    pub version: Option<u32>,
    /// Processes that have it.
    pub processes: u32,
    /// Functions that are reached through linkage tables.
    pub plt: u32,
    /// Functions that are reached through dlsym.
    pub dlsym: u32,
}

/// What one phase does with one operation, against what its steps must do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The phase.
    pub phase: String,
    /// The operation.
    pub op: String,
    /// Ranks that are compared.
    pub ranks: u32,
    /// Operations seen.
    pub seen: u64,
    /// Operations that the steps seen must have had.
    pub predicted: u64,
    /// Of the rank that is furthest off: seen / predicted, null where nothing was predicted.
    pub furthest: Option<f64>,
}
