//! From the time of a step to that of a request among others.
//!
//! - The prompt passes the stages one after the other, a long one in as many steps as the scheduler cuts
//!   it into.
//! - Requests that decode are spread over as many batches as there are stages, which work at the same
//!   time: a round takes as long as one batch through all stages, or as all batches on the slowest one.
//! - While a request decodes, the prompts of the others come between, each once.

use super::Unfit;
use super::step::{Placed, StageTime};
use crate::model::{Refusal, Request, Step, steps};

/// What is asked of a layout.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Workload {
    /// Tokens of each prompt.
    pub prompt: u64,
    /// Tokens that each request generates.
    pub output: u64,
    /// How many requests there are.
    pub load: Load,
    /// Whether it is the first request to a server, with what happens once only.
    pub first: bool,
}

/// How many requests there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// So many at any time.
    Concurrent(u64),
    /// So many per second.
    PerSecond(f64),
}

/// What a request takes, in seconds. A model, no measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    /// Time to the first token.
    pub ttft: f64,
    /// Time per further token.
    pub tpot: f64,
    /// Time of the whole request.
    pub e2e: f64,
    /// The part of a request's way that is operations of NCCL.
    pub communication: f64,
    /// Requests per second, over all that are under way.
    pub throughput: f64,
    /// Requests that are under way at once.
    pub running: u64,
}

/// More requests at once are not tried.
const MOST: u64 = 1 << 20;

pub(super) struct Serving<'a> {
    placed: &'a Placed<'a>,
    workload: &'a Workload,
    /// The steps of one prompt, on each stage.
    prompt: Vec<Vec<StageTime>>,
}

impl<'a> Serving<'a> {
    pub(super) fn new(placed: &'a Placed<'a>, workload: &'a Workload) -> Result<Self, Refusal> {
        let request = Request { prompt: workload.prompt, output: 1, cached: 0, arrives: 0 };
        let peak = match placed.cluster.measured.first_prefill {
            share if workload.first && share > 0.0 => share,
            _ => 1.0,
        };
        let of_prompt = |step: &Step| step.prompts.iter().any(|chunk| chunk.tokens > 0);
        let prompt: Vec<Step> =
            steps(placed.deployment, &[request])?.into_iter().filter(of_prompt).collect();
        let prompt = prompt.iter().map(|step| placed.stages(step, peak)).collect();
        Ok(Self { placed, workload, prompt })
    }

    /// What a request takes where the KV cache has room for `room` of them.
    pub(super) fn times(&self, room: u64) -> Result<Times, Unfit> {
        let layout = self.placed.deployment.layout;
        let most = self.placed.deployment.max_num_seqs;
        // V0 and V1 take up to `--max-num-seqs` into each of the batches that are under way.
        let most = room.min(most.saturating_mul(layout.pipeline.into())).min(MOST);
        if most == 0 {
            return Err(Unfit::Memory);
        }
        match self.workload.load {
            Load::Concurrent(requests) => Ok(self.closed(requests.max(1), most)),
            Load::PerSecond(rate) => self.open(rate, most),
        }
    }

    /// As many as `requests` at any time. Those that find no room wait.
    fn closed(&self, requests: u64, most: u64) -> Times {
        let running = requests.min(most);
        let times = self.with(running);
        let wait = times.e2e * (requests as f64 / running as f64 - 1.0);
        Times { ttft: times.ttft + wait, e2e: times.e2e + wait, ..times }
    }

    /// By Little's law, as many as it takes to serve `rate` requests per second.
    fn open(&self, rate: f64, most: u64) -> Result<Times, Unfit> {
        let fast_enough = |running| self.with(running).throughput >= rate;
        let (mut few, mut many) = (0, 1);
        while !fast_enough(many) {
            if many == most {
                return Err(Unfit::TooSlow(self.with(most).throughput));
            }
            (few, many) = (many, (2 * many).min(most));
        }
        while many - few > 1 {
            let middle = few + (many - few) / 2;
            if fast_enough(middle) { many = middle } else { few = middle }
        }
        Ok(Times { throughput: rate, ..self.with(many) })
    }

    /// With `running` requests under way at any time.
    fn with(&self, running: u64) -> Times {
        let decodes = self.workload.output.saturating_sub(1) as f64;
        let batches = running.min(self.placed.deployment.layout.pipeline.into());
        let length = self.workload.prompt + self.workload.output.div_ceil(2);
        let step =
            Step { decodes: vec![length; running.div_ceil(batches) as usize], ..Step::default() };
        let decode = self.placed.stages(&step, 1.0);
        let slowest =
            |stages: &[StageTime]| stages.iter().map(StageTime::total).fold(0.0, f64::max);
        let through = |stages: &[StageTime]| stages.iter().map(StageTime::total).sum::<f64>();
        let sent =
            |stages: &[StageTime]| stages.iter().map(|stage| stage.communication).sum::<f64>();
        let round = through(&decode).max(batches as f64 * slowest(&decode));
        let of_prompt = |what: &dyn Fn(&[StageTime]) -> f64| -> f64 {
            self.prompt.iter().map(|stages| what(stages)).sum()
        };
        // A prompt waits, on average, for half of the step that it finds.
        let found = if running > 1 { slowest(&decode) / 2.0 } else { 0.0 };
        let ttft = of_prompt(&through) + found + self.once();
        let others = (running - 1) as f64 * of_prompt(&slowest);
        let tpot = if decodes > 0.0 { round + others / decodes } else { 0.0 };
        let e2e = ttft + decodes * tpot;
        Times {
            ttft,
            tpot,
            e2e,
            communication: of_prompt(&sent) + decodes * sent(&decode),
            throughput: running as f64 / e2e,
            running,
        }
    }

    /// What happens before the first token of a server and never again: at each pipeline boundary
    /// PyTorch makes a communicator for the two ranks when they first use it, one boundary after the
    /// other.
    fn once(&self) -> f64 {
        if !self.workload.first {
            return 0.0;
        }
        let boundaries = self.placed.deployment.layout.pipeline - 1;
        f64::from(boundaries) * self.placed.cluster.measured.communicator
    }
}
