use super::*;
use nccltap_proto::RankOf;

fn identity(pid: u32) -> Identity {
    Identity { host: "node".into(), pid, instance: 1 }
}

/// Workers as vLLM makes them, by pid, with the groups of each.
#[derive(Default)]
struct Engine {
    parts: BTreeMap<u32, Vec<Part>>,
    places: BTreeMap<u32, MarkedPlace>,
    hash: u64,
}

const NOTHING: Usage = Usage { reduces: 0, transfers: 0, exchanges: 0, others: 0 };
const REDUCES: Usage = Usage { reduces: 650, ..NOTHING };
const GATHERS: Usage = Usage { transfers: 10, others: 90, ..NOTHING };
const TRANSFERS: Usage = Usage { transfers: 20, ..NOTHING };
const EXCHANGES: Usage = Usage { exchanges: 40, ..NOTHING };

impl Engine {
    fn group(&mut self, pids: &[u32], usage: Usage) -> u64 {
        self.hash += 1;
        for (rank, pid) in (0..).zip(pids) {
            let ranks = pids.len() as u32;
            let part = Part { group: self.hash, ranks, rank, usage };
            self.parts.entry(*pid).or_default().push(part);
        }
        self.hash
    }

    /// Has the worker say where it stands: tensor, pipeline, data and expert parallel.
    fn place(&mut self, pid: u32, ranks: [(u32, u32); 4]) {
        let [tensor, pipeline, data, expert] =
            ranks.map(|(rank, size)| RankOf::new(rank, size).unwrap());
        self.places.insert(pid, MarkedPlace { tensor, pipeline, data, expert });
    }

    fn workers(&self) -> Vec<Worker> {
        let worker = |(pid, parts): (&u32, &Vec<Part>)| Worker {
            identity: identity(*pid),
            is_engine: true,
            place: self.places.get(pid).copied(),
            parts: parts.clone(),
        };
        self.parts.iter().map(worker).collect()
    }

    fn join(&self) -> Groups {
        join(&self.workers())
    }
}

fn sizes(groups: &Groups) -> Vec<(u32, u32, u32)> {
    groups.layouts().iter().map(|l| (l.tensor, l.pipeline, l.data)).collect()
}

#[test]
fn tensor_parallel_ranks_are_one_group_with_two_communicators() {
    for ranks in [2, 4] {
        let pids: Vec<u32> = (10..10 + ranks).collect();
        let mut engine = Engine::default();
        let pynccl = engine.group(&pids, REDUCES);
        let torch = engine.group(&pids, GATHERS);
        let groups = engine.join();
        assert_eq!(sizes(&groups), [(ranks, 1, 1)]);
        assert_eq!((groups.name(pynccl), groups.name(torch)), ("tp0".into(), "tp0.1".into()));
        assert_eq!(groups.purpose(torch), Some((Role::Tensor, Confidence::Observed)));
        let place = groups.place(&identity(11)).unwrap();
        assert_eq!(place, Coordinates { data: 0, stage: 0, tensor: 1 });
    }
}

#[test]
fn a_pipeline_shows_in_its_links() {
    let mut engine = Engine::default();
    let all = engine.group(&[10, 11, 12, 13], NOTHING);
    let links = [[10, 11], [11, 12], [12, 13]].map(|two| engine.group(&two, TRANSFERS));
    let groups = engine.join();
    assert_eq!(sizes(&groups), [(1, 4, 1)]);
    assert_eq!(groups.name(all), "pp0");
    assert_eq!(links.map(|link| groups.name(link)), ["pp0.1", "pp0.2", "pp0.3"]);
    assert_eq!(groups.place(&identity(13)).unwrap().stage, 3);
}

#[test]
fn tensor_and_pipeline_parallel_groups_cross() {
    let mut engine = Engine::default();
    let tp = [[10, 11], [12, 13]].map(|two| engine.group(&two, REDUCES));
    let pp = [[10, 12], [11, 13]].map(|two| engine.group(&two, NOTHING));
    let torch = [[10, 11], [12, 13]].map(|two| engine.group(&two, GATHERS));
    let links = [[10, 12], [11, 13]].map(|two| engine.group(&two, TRANSFERS));
    let groups = engine.join();
    assert_eq!(sizes(&groups), [(2, 2, 1)]);
    assert_eq!(tp.map(|group| groups.name(group)), ["tp0", "tp1"]);
    assert_eq!(torch.map(|group| groups.name(group)), ["tp0.1", "tp1.1"]);
    assert_eq!(pp.map(|group| groups.name(group)), ["pp0", "pp1"]);
    assert_eq!(links.map(|group| groups.name(group)), ["pp0.1", "pp1.1"]);
    let place = groups.place(&identity(13)).unwrap();
    assert_eq!(place, Coordinates { data: 0, stage: 1, tensor: 1 });
    let unique: BTreeSet<_> = groups.all().values().map(|group| &group.name).collect();
    assert_eq!(unique.len(), groups.all().len());
}

#[test]
fn copies_of_the_model_are_assumed_from_how_groups_cross() {
    let mut engine = Engine::default();
    engine.group(&[10, 11], REDUCES);
    engine.group(&[12, 13], REDUCES);
    let dp = [[10, 12], [11, 13]].map(|two| engine.group(&two, NOTHING));
    let groups = engine.join();
    assert_eq!(sizes(&groups), [(2, 1, 2)]);
    assert_eq!(dp.map(|group| groups.name(group)), ["dp0", "dp1"]);
    assert_eq!(groups.purpose(dp[0]), Some((Role::Data, Confidence::Assumed)));
    assert_eq!(groups.place(&identity(12)).unwrap().data, 1);
}

#[test]
fn experts_are_shared_by_all_ranks_that_exchange_tokens() {
    let mut engine = Engine::default();
    engine.group(&[10, 11], REDUCES);
    engine.group(&[12, 13], REDUCES);
    engine.group(&[10, 12], NOTHING);
    engine.group(&[11, 13], NOTHING);
    let ep = engine.group(&[10, 11, 12, 13], EXCHANGES);
    let groups = engine.join();
    assert_eq!(groups.purpose(ep), Some((Role::Expert, Confidence::Observed)));
    assert_eq!(groups.name(ep), "ep0");
    assert_eq!(groups.layouts()[0].expert, 4);
}

#[test]
fn what_the_engine_says_of_its_layout_counts_more_than_what_runs_on_groups() {
    let mut engine = Engine::default();
    // Nothing of what runs here would show two copies of the model, or that they share experts.
    let tp = [[10, 11], [12, 13]].map(|two| engine.group(&two, NOTHING));
    let dp = [[10, 12], [11, 13]].map(|two| engine.group(&two, REDUCES));
    let ep = engine.group(&[10, 11, 12, 13], REDUCES);
    for (at, pid) in (10..14).enumerate() {
        let at = at as u32;
        engine.place(pid, [(at % 2, 2), (0, 1), (at / 2, 2), (at, 4)]);
    }
    let groups = engine.join();
    assert_eq!(tp.map(|group| groups.name(group)), ["tp0", "tp1"]);
    assert_eq!(dp.map(|group| groups.name(group)), ["dp0", "dp1"]);
    assert_eq!(groups.purpose(ep), Some((Role::Expert, Confidence::Stated)));
    let expected = Layout { tensor: 2, pipeline: 1, data: 2, expert: 4, workers: 4 };
    assert_eq!(groups.layouts(), [expected]);
    let place = groups.place(&identity(13)).unwrap();
    assert_eq!(place, Coordinates { data: 1, stage: 0, tensor: 1 });
}

#[test]
fn experts_within_a_tensor_group_show_only_in_what_the_engine_says() {
    let mut engine = Engine::default();
    let tp = engine.group(&[10, 11], REDUCES);
    for pid in [10, 11] {
        engine.place(pid, [(pid - 10, 2), (0, 1), (0, 1), (pid - 10, 2)]);
    }
    let groups = engine.join();
    assert_eq!(groups.purpose(tp), Some((Role::Tensor, Confidence::Stated)));
    assert_eq!(groups.layouts()[0].expert, 2);
}

#[test]
fn of_a_group_with_a_member_that_says_nothing_sizes_speak() {
    let mut engine = Engine::default();
    let tp = engine.group(&[10, 11], REDUCES);
    engine.place(10, [(0, 1), (0, 2), (0, 1), (0, 1)]);
    assert_eq!(engine.join().purpose(tp), Some((Role::Tensor, Confidence::Observed)));
}

#[test]
fn other_programs_and_groups_that_are_not_whole_keep_their_numbers() {
    let mut engine = Engine::default();
    let group = engine.group(&[10, 11], REDUCES);
    let mut workers = engine.workers();
    workers[1].is_engine = false;
    assert_eq!(join(&workers).name(group), "0000000000000001");
    let half = join(&engine.workers()[..1]);
    assert_eq!((half.name(group), half.purpose(group)), ("0000000000000001".into(), None));
}

#[test]
fn two_engines_have_names_of_their_own() {
    let mut engine = Engine::default();
    let first = engine.group(&[10, 11], REDUCES);
    let second = engine.group(&[20, 21], REDUCES);
    let groups = engine.join();
    assert_eq!((groups.name(first), groups.name(second)), ("tp0".into(), "tp0@1".into()));
    assert_eq!(groups.layouts().len(), 2);
}
