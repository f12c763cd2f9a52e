//! From requests, all at once or one after the other, to the steps of an engine.
//!
//! The rules are those of vLLM's schedulers (`core/scheduler.py` for V0, `v1/core/sched/scheduler.py`
//! for V1) and of SGLang's (`managers/scheduler.py`), for a KV cache that has room for all that runs:
//! nothing is preempted or swapped. When a request arrives, whether it is cut short, or finds a cached
//! prefix is known only as far as it is said. For any other run give the steps themselves, or the
//! scheduler's trace.

use super::{Chunk, Deployment, Engine, Refusal, Request, Step};
use std::collections::VecDeque;

/// The steps that serve `requests`, by the scheduler of each pipeline stage's turn. V0 has one
/// scheduler per stage and hands requests out in turn, so that the stages work at the same time.
pub fn steps(deployment: &Deployment, requests: &[Request]) -> Result<Vec<Step>, Refusal> {
    for request in requests {
        check(deployment, request)?;
    }
    if deployment.engine != Engine::V0 {
        return Ok(run(Scheduler::new(deployment, requests.to_vec())));
    }
    let schedulers = deployment.layout.pipeline as usize;
    let mut all = Vec::new();
    for turn in 0..schedulers {
        let share = requests.iter().copied().skip(turn).step_by(schedulers).collect();
        all.extend(run(Scheduler::new(deployment, share)));
    }
    Ok(all)
}

fn check(deployment: &Deployment, request: &Request) -> Result<(), Refusal> {
    let Request { prompt, output, cached, .. } = *request;
    let refuse = |what: String| Err(Refusal::Setting(what));
    if prompt == 0 || output == 0 {
        return refuse("a request has at least one prompt token and one output token".to_owned());
    }
    if cached >= prompt {
        return refuse(format!(
            "{cached} tokens of a prompt of {prompt} are cached; the last is always computed"
        ));
    }
    let longest = deployment.max_model_len;
    if prompt.checked_add(output).is_none_or(|length| length > longest) {
        return refuse(format!(
            "a prompt of {prompt} and an output of {output} are longer than --max-model-len {longest}"
        ));
    }
    Ok(())
}

fn run(mut scheduler: Scheduler<'_>) -> Vec<Step> {
    std::iter::from_fn(|| scheduler.next_step()).collect()
}

/// A request on its way.
#[derive(Clone, Copy, Debug)]
struct Running {
    request: Request,
    /// Prompt tokens that are computed or cached.
    computed: u64,
    /// Output tokens that it got.
    generated: u64,
    /// Whether it was seen that it has all of them.
    done: bool,
}

impl Running {
    fn in_prompt(&self) -> bool {
        self.computed < self.request.prompt
    }

    /// The part of the prompt that fits in `budget`.
    fn chunk(&mut self, budget: u64) -> Chunk {
        let tokens = (self.request.prompt - self.computed).min(budget);
        let context = self.computed;
        self.computed += tokens;
        let last = !self.in_prompt();
        self.generated += u64::from(last);
        let Request { prompt, cached, .. } = self.request;
        let cache_hit = context > 0 && context == cached;
        Chunk { tokens, context, prompt, last, cache_hit }
    }

    /// The length of the sequence once its next token is computed.
    fn decode(&mut self) -> u64 {
        self.generated += 1;
        self.request.prompt + self.generated - 1
    }
}

struct Scheduler<'a> {
    deployment: &'a Deployment,
    waiting: VecDeque<Request>,
    running: Vec<Running>,
    /// V0 with CUDA graphs and one stage looks at a step's tokens while the next step runs
    /// (`engine/llm_engine.py`, `_advance_to_next_step`; `config.py`, `verify_async_output_proc`), and so does
    /// SGLang (`event_loop_overlap`): it sees one step late that a request is done, which takes part once more if
    /// that step is a decode.
    late: bool,
    /// Steps that were made.
    made: u64,
}

impl<'a> Scheduler<'a> {
    fn new(deployment: &'a Deployment, requests: Vec<Request>) -> Self {
        let late = match deployment.engine {
            Engine::V0 => deployment.graphs.is_some() && deployment.layout.pipeline == 1,
            Engine::Sglang => true,
            _ => false,
        };
        let running = Vec::new();
        let mut requests = requests;
        // Those that arrive together keep their order.
        requests.sort_by_key(|request| request.arrives);
        Self { deployment, waiting: requests.into(), running, late, made: 0 }
    }

    fn next_step(&mut self) -> Option<Step> {
        self.running.retain(|running| !running.done);
        for running in &mut self.running {
            running.done = !running.in_prompt() && running.generated >= running.request.output;
        }
        if !self.late {
            self.running.retain(|running| !running.done);
        }
        // An engine with nothing to do waits for the next request.
        if let (true, Some(next)) = (self.running.is_empty(), self.waiting.front()) {
            self.made = self.made.max(next.arrives);
        }
        let step = match (self.deployment.engine, self.deployment.chunked_prefill) {
            (Engine::Sglang, _) => self.prompts_first_step(),
            (_, true) => self.mixed_step(),
            (_, false) => self.separate_step(),
        };
        self.made += 1;
        (step.sequences() > 0).then_some(step)
    }

    /// Those that run first, each its next token or as much of its prompt as fits; then new ones
    /// (`_schedule_chunked_prefill` in V0; `schedule` in V1).
    fn mixed_step(&mut self) -> Step {
        let mut step = Step::default();
        let mut budget = self.deployment.max_num_batched_tokens;
        for running in &mut self.running {
            match (budget, running.in_prompt()) {
                (0, _) => break,
                (_, true) => {
                    let chunk = running.chunk(budget);
                    budget -= chunk.tokens;
                    step.prompts.push(chunk);
                }
                (_, false) => {
                    step.decodes.push(running.decode());
                    budget -= 1;
                }
            }
        }
        self.admit_parts(&mut step, budget);
        step
    }

    /// Parts of prompts as long as there are any, else the next token of all (`get_next_batch_to_run` of SGLang,
    /// and `PrefillAdder` of its `managers/schedule_policy.py`).
    fn prompts_first_step(&mut self) -> Step {
        let mut step = Step::default();
        let mut budget = self.deployment.max_num_batched_tokens;
        for running in self.running.iter_mut().filter(|running| running.in_prompt()) {
            let chunk = running.chunk(budget);
            budget -= chunk.tokens;
            step.prompts.push(chunk);
        }
        self.admit_parts(&mut step, budget);
        if step.prompts.is_empty() {
            step.decodes.extend(self.running.iter_mut().map(Running::decode));
        }
        step
    }

    /// New prompts, of the last of which as much as `budget` leaves.
    fn admit_parts(&mut self, step: &mut Step, mut budget: u64) {
        while budget > 0 && (self.running.len() as u64) < self.deployment.max_num_seqs {
            let Some(mut new) = self.admit() else { break };
            let chunk = new.chunk(budget);
            budget -= chunk.tokens;
            step.prompts.push(chunk);
            self.running.push(new);
        }
    }

    /// New prompts as long as any fit, whole; when none does, all that run decode
    /// (`_schedule_default` in V0).
    fn separate_step(&mut self) -> Step {
        let mut step = Step::default();
        let mut budget = self.deployment.max_num_batched_tokens;
        while (self.running.len() as u64) < self.deployment.max_num_seqs {
            let fits = |request: &Request| {
                request.arrives <= self.made && request.prompt - request.cached <= budget
            };
            if !self.waiting.front().is_some_and(fits) {
                break;
            }
            let Some(mut new) = self.admit() else { break };
            let chunk = new.chunk(budget);
            budget -= chunk.tokens;
            step.prompts.push(chunk);
            self.running.push(new);
        }
        if step.prompts.is_empty() {
            step.decodes.extend(self.running.iter_mut().map(Running::decode));
        }
        step
    }

    fn admit(&mut self) -> Option<Running> {
        let made = self.made;
        let request = self.waiting.pop_front_if(|request| request.arrives <= made)?;
        Some(Running { request, computed: request.cached, generated: 0, done: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::presets::preset;
    use crate::model::{Layout, Phase, Settings};
    use proptest::prelude::*;

    fn deployment(settings: Settings) -> Deployment {
        Deployment::new(preset("llama-3.1-8b").unwrap(), Layout::new(2, 1), settings).unwrap()
    }

    fn request(prompt: u64, output: u64) -> Request {
        Request { prompt, output, cached: 0, arrives: 0 }
    }

    const SHORT: Settings = Settings { max_model_len: Some(4096), ..Settings::PAPER };
    const V1: Settings = Settings { engine: Engine::V1Release0_11, ..SHORT };
    const SGLANG: Settings = Settings { engine: Engine::Sglang, ..SHORT };

    #[test]
    fn one_request_is_one_prefill_and_a_decode_for_each_further_token() {
        for settings in [SHORT, Settings::PAPER, V1] {
            let steps = steps(&deployment(settings), &[request(128, 128)]).unwrap();
            assert_eq!(steps.len(), 128);
            assert_eq!((steps[0].tokens(), steps[0].phase()), (128, Phase::Prefill));
            assert_eq!(steps[1].decodes, [129]);
            assert_eq!(steps[127].decodes, [255]);
        }
    }

    #[test]
    fn v0_with_graphs_decodes_once_more_before_it_sees_that_a_request_is_done() {
        let graphs = Settings { cuda_graphs: true, ..SHORT };
        let steps = steps(&deployment(graphs), &[request(128, 128)]).unwrap();
        assert_eq!(steps.len(), 129);
        assert_eq!(steps[128].decodes, [256]);
    }

    #[test]
    fn a_request_that_is_done_takes_no_part_behind_a_prompt_that_came_meanwhile() {
        let graphs = Settings { cuda_graphs: true, ..SHORT };
        let late = Request { arrives: 3, ..request(100, 1) };
        for settings in [graphs, SGLANG] {
            let steps = steps(&deployment(settings), &[request(100, 3), late]).unwrap();
            let kinds: Vec<_> = steps.iter().map(|s| (s.phase(), s.tokens())).collect();
            use Phase::{Decode, Prefill};
            assert_eq!(
                kinds,
                [(Prefill, 100), (Decode, 1), (Decode, 1), (Prefill, 100), (Decode, 1)],
                "the last is that of the second request, which is seen late as well"
            );
        }
    }

    #[test]
    fn sglang_computes_parts_of_prompts_before_any_decode_and_each_request_decodes_once_more() {
        let settings = Settings { max_num_batched_tokens: Some(256), ..SGLANG };
        let requests = [request(100, 3), request(300, 2), request(50, 2)];
        let steps = steps(&deployment(settings), &requests).unwrap();
        let shapes: Vec<(Vec<u64>, usize)> = steps
            .iter()
            .map(|step| (step.prompts.iter().map(|c| c.tokens).collect(), step.decodes.len()))
            .collect();
        assert_eq!(
            shapes,
            [(vec![100, 156], 0), (vec![144, 50], 0), (vec![], 3), (vec![], 3), (vec![], 1),]
        );
    }

    #[test]
    fn a_prompt_that_does_not_fit_is_cut_and_samples_once() {
        let settings = Settings { max_num_batched_tokens: Some(1024), ..V1 };
        let steps = steps(&deployment(settings), &[request(2500, 1)]).unwrap();
        let chunks: Vec<_> =
            steps.iter().flat_map(|step| &step.prompts).map(|c| (c.tokens, c.context)).collect();
        assert_eq!(chunks, [(1024, 0), (1024, 1024), (452, 2048)]);
        assert_eq!(steps.iter().map(Step::sampled).sum::<u64>(), 1);
    }

    #[test]
    fn a_cached_prefix_is_not_computed_again() {
        let cached = Request { cached: 96, ..request(128, 2) };
        let steps = steps(&deployment(V1), &[cached]).unwrap();
        assert_eq!((steps[0].tokens(), steps[0].prompts[0].context), (32, 96));
        assert!(steps[0].prompts[0].cache_hit);
        assert_eq!(steps[1].decodes, [129]);
    }

    #[test]
    fn v0_does_not_mix_prompts_and_decodes_and_v1_does() {
        let requests = [request(3000, 3), request(3000, 3)];
        let phases = |settings| -> Vec<Phase> {
            steps(&deployment(settings), &requests).unwrap().iter().map(Step::phase).collect()
        };
        use Phase::{Decode, Mixed, Prefill};
        assert_eq!(phases(SHORT), [Prefill, Prefill, Decode, Decode]);
        let small = Settings { max_num_batched_tokens: Some(4000), ..V1 };
        assert_eq!(phases(small), [Prefill, Mixed, Decode, Decode]);
    }

    #[test]
    fn requests_that_arrive_later_find_the_first_under_way() {
        let late = |arrives| Request { arrives, ..request(100, 3) };
        let steps = steps(&deployment(V1), &[late(0), late(1), late(1), late(9)]).unwrap();
        let tokens: Vec<_> = steps.iter().map(|step| (step.phase(), step.tokens())).collect();
        use Phase::{Decode, Mixed, Prefill};
        assert_eq!(
            tokens,
            [
                (Prefill, 100),
                (Mixed, 201),
                (Decode, 3),
                (Decode, 2),
                (Prefill, 100),
                (Decode, 1),
                (Decode, 1)
            ]
        );
    }

    #[test]
    fn the_rules_make_the_steps_that_the_scheduler_of_vllm_0_11_logged() {
        // Its class `Scheduler`, driven by hand: 256 tokens per step, the second request one step late.
        let logged = [
            r#"{"new":{"a":{"prompt":300,"cached":0}},"tokens":{"a":256}}"#,
            r#"{"new":{"b":{"prompt":100,"cached":0}},"tokens":{"a":44,"b":100}}"#,
            r#"{"tokens":{"a":1,"b":1}}"#,
            r#"{"tokens":{"a":1,"b":1}}"#,
            r#"{"tokens":{"a":1}}"#,
            r#"{"tokens":{"a":1}}"#,
        ];
        let mut trace = crate::model::Trace::default();
        let theirs: Vec<Step> = logged
            .iter()
            .map(|line| trace.step(&serde_json::from_str(line).unwrap()).unwrap())
            .collect();
        let settings = Settings { max_num_batched_tokens: Some(256), max_num_seqs: Some(64), ..V1 };
        let late = Request { arrives: 1, ..request(100, 3) };
        assert_eq!(steps(&deployment(settings), &[request(300, 5), late]).unwrap(), theirs);
    }

    #[test]
    fn the_rules_make_the_steps_that_the_scheduler_of_sglang_logged() {
        // Eight requests by HTTP, of which two came first. Its own ones are in the eleven lines before.
        let log = include_str!(
            "../../tests/observed/sglang-0.5.5-llama-3.1-8b-tp2-graphs-served8-0.jsonl"
        );
        let mut trace = crate::model::Trace::default();
        let logged: Vec<Step> = log
            .lines()
            .map(|line| trace.step(&serde_json::from_str(line).unwrap()).unwrap())
            .collect();
        let asked = [
            (480, 63, 0),
            (411, 106, 0),
            (784, 32, 1),
            (105, 26, 1),
            (1053, 42, 1),
            (296, 47, 1),
            (836, 98, 1),
            (78, 74, 1),
        ];
        let requests =
            asked.map(|(prompt, output, arrives)| Request { arrives, ..request(prompt, output) });
        // The log lists the requests of a step in the order of their names.
        let sorted = |step: &Step| {
            let mut prompts: Vec<u64> = step.prompts.iter().map(|chunk| chunk.tokens).collect();
            let mut decodes = step.decodes.clone();
            prompts.sort_unstable();
            decodes.sort_unstable();
            (prompts, decodes)
        };
        let ours = steps(&deployment(SGLANG), &requests).unwrap();
        let theirs: Vec<_> = logged[11..].iter().map(sorted).collect();
        assert_eq!(ours.iter().map(sorted).collect::<Vec<_>>(), theirs);
    }

    #[test]
    fn what_cannot_be_served_is_refused() {
        let deployment = deployment(SHORT);
        for (request, why) in [
            (request(0, 1), "at least one"),
            (request(1, 0), "at least one"),
            (request(4000, 97), "--max-model-len"),
            (request(u64::MAX, 2), "--max-model-len"),
            (Request { cached: 5, ..request(5, 1) }, "cached"),
        ] {
            let text = steps(&deployment, &[request]).unwrap_err().to_string();
            assert!(text.contains(why), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_token_of_every_request_is_computed_once(
            requests in prop::collection::vec((1u64..3000, 1u64..40, 0u64..3000, 0u64..100), 1..40),
            v1 in any::<bool>(), chunked in any::<bool>(), seqs in 1u64..20,
            budget in 4096u64..9000, stages in 1u32..4,
        ) {
            let settings = Settings {
                max_num_seqs: Some(seqs),
                max_num_batched_tokens: Some(budget),
                chunked_prefill: Some(chunked || v1),
                ..if v1 { V1 } else { SHORT }
            };
            let layout = Layout::new(1, stages);
            let model = preset("llama-3.1-8b").unwrap();
            let deployment = Deployment::new(model, layout, settings).unwrap();
            let requests: Vec<Request> = requests
                .into_iter()
                .map(|(prompt, output, cached, arrives)| Request {
                    prompt,
                    output,
                    cached: cached % prompt,
                    arrives,
                })
                .collect();
            let steps = steps(&deployment, &requests).unwrap();
            let computed: u64 = requests.iter().map(|r| r.prompt - r.cached + r.output - 1).sum();
            prop_assert_eq!(steps.iter().map(Step::tokens).sum::<u64>(), computed);
            let sampled: u64 = requests.iter().map(|r| r.output).sum();
            prop_assert_eq!(steps.iter().map(Step::sampled).sum::<u64>(), sampled);
            for step in &steps {
                prop_assert!(step.tokens() <= budget && step.sequences() <= seqs);
                prop_assert!(chunked || v1 || step.phase() != Phase::Mixed);
            }
        }
    }
}
