//! What processes must know of each other while they are counted.
//!
//! - Which processes are in a group: a worker whose groups all have the same members, but for its pipeline, has no
//!   partner outside.
//! - What a step serves that passed over a link between two pipeline stages: the later stage knows, the earlier
//!   one asks. Both count the transfers of a link alike, so a step is the number of its first transfer.
//!
//! Bounded: [`GROUPS`] groups, [`LINKS`] links with [`WAITING_STEPS`] steps each. What is not here is not known.

use crate::process::Identity;
use crate::steps::{Label, Passage, Tokens, Told, WAITING_STEPS};
use crate::timeline::Communicators;
use nccltap_proto::v1;
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Groups whose members are remembered.
pub(super) const GROUPS: usize = 65_536;

/// Links between stages whose steps are remembered.
pub(super) const LINKS: usize = 4096;

/// A link between two ranks of a group, one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Link {
    group: u64,
    from: i32,
    to: i32,
}

/// A step that passed a link.
#[derive(Clone, Copy, Debug)]
struct Passed {
    number: u64,
    elements: u64,
    label: Label,
    tokens: Tokens,
}

/// What is known of all processes together.
#[derive(Debug, Default)]
pub struct Board {
    members: FxHashMap<u64, Members>,
    links: FxHashMap<Link, VecDeque<Passed>>,
}

#[derive(Debug, Default)]
struct Members {
    ranks: u32,
    by_rank: BTreeMap<i32, Identity>,
}

impl Board {
    /// Takes in that a process has this communicator.
    pub fn join(&mut self, process: &Identity, communicator: &v1::Communicator) {
        if communicator.group == 0 || communicator.rank < 0 {
            return;
        }
        if self.members.len() >= GROUPS && !self.members.contains_key(&communicator.group) {
            return;
        }
        let members = self.members.entry(communicator.group).or_default();
        members.ranks = communicator.ranks;
        members.by_rank.insert(communicator.rank, process.clone());
    }

    /// Whether all these groups of a worker are known to be within one copy of the model: but for pipelines, which
    /// contain one of these links between stages, they have the same members.
    pub fn are_one_copy(
        &self,
        groups: impl Iterator<Item = u64>,
        links: impl Iterator<Item = u64>,
    ) -> bool {
        let links: Vec<_> = links.filter_map(|group| self.members(group)).collect();
        let Some(groups) = groups.map(|group| self.members(group)).collect::<Option<Vec<_>>>()
        else {
            return false;
        };
        let is_pipeline =
            |group: &BTreeSet<&Identity>| links.iter().any(|link| link.is_subset(group));
        let mut others = groups.iter().filter(|group| !is_pipeline(group));
        others.next().is_some_and(|first| others.all(|other| other == first))
    }

    /// The members of a group, when all are known.
    fn members(&self, group: u64) -> Option<BTreeSet<&Identity>> {
        let members = self.members.get(&group)?;
        let whole = members.by_rank.len() == members.ranks as usize;
        whole.then(|| members.by_rank.values().collect())
    }

    /// Takes in what a step serves.
    pub(crate) fn tell(&mut self, told: Told, communicators: &Communicators) {
        let Some(link) = link(&told.passage, communicators) else { return };
        if self.links.len() >= LINKS && !self.links.contains_key(&link) {
            return;
        }
        let Told { passage: Passage { number, elements, .. }, label, tokens } = told;
        let steps = self.links.entry(link).or_default();
        if steps.back().is_some_and(|latest| latest.number >= number) {
            return;
        }
        if steps.len() >= WAITING_STEPS {
            steps.pop_front();
        }
        steps.push_back(Passed { number, elements, label, tokens });
    }

    /// What the step serves that passed here, if the other end has said so.
    pub(crate) fn answer(
        &self,
        passage: &Passage,
        communicators: &Communicators,
    ) -> Option<(Label, Tokens)> {
        let steps = self.links.get(&link(passage, communicators)?)?;
        let at = steps.binary_search_by_key(&passage.number, |step| step.number).ok()?;
        let step = steps.get(at)?;
        match step.elements == passage.elements {
            true => Some((step.label, step.tokens)),
            // The ends do not count alike.
            false => Some((Label::UNKNOWN, Tokens::NONE)),
        }
    }
}

fn link(passage: &Passage, communicators: &Communicators) -> Option<Link> {
    let facts = communicators.get(passage.communicator)?;
    let (group, mine, other) = (facts.group, facts.rank, passage.peer);
    let (from, to) = if passage.sends { (mine, other) } else { (other, mine) };
    (group != 0 && mine >= 0).then_some(Link { group, from, to })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::{Phase, Source};

    fn identity(pid: u32) -> Identity {
        Identity { host: "node".into(), pid, instance: 1 }
    }

    fn communicator(group: u64, rank: i32) -> v1::Communicator {
        v1::Communicator { id: 3, handle: 7, group, ranks: 2, rank, ..Default::default() }
    }

    fn known_as(group: u64, rank: i32) -> Communicators {
        let mut all = Communicators::default();
        all.learn(&communicator(group, rank));
        all
    }

    #[test]
    fn groups_are_in_one_copy_when_all_their_members_are_known_and_the_same_but_for_pipelines() {
        let mut board = Board::default();
        for (group, pids) in [(1, [10, 11]), (2, [10, 11]), (3, [10, 12])] {
            for (rank, pid) in (0..).zip(pids) {
                board.join(&identity(pid), &communicator(group, rank));
            }
        }
        board.join(&identity(10), &communicator(4, 0));
        let one = |groups: &[u64], links: &[u64]| {
            board.are_one_copy(groups.iter().copied(), links.iter().copied())
        };
        assert!(one(&[1, 2], &[]));
        assert!(!one(&[1, 3], &[]), "another copy of the model");
        assert!(one(&[1, 3, 2], &[3]), "another stage of the same");
        assert!(!one(&[1, 4], &[]), "a member is not known yet");
        assert!(!one(&[1, 4], &[4]));
        assert!(!one(&[1, 9], &[]));
    }

    const LABEL: Label = Label::known(Phase::Decode, Source::Rows);

    fn passage(sends: bool, number: u64, elements: u64) -> Passage {
        Passage { communicator: 3, peer: i32::from(sends), sends, number, elements }
    }

    #[test]
    fn what_one_end_says_of_a_transfer_the_other_end_is_told() {
        let (sender, receiver) = (known_as(5, 0), known_as(5, 1));
        let mut board = Board::default();
        for number in [0, 2, 4] {
            let passage = passage(false, number, 64);
            board.tell(Told { passage, label: LABEL, tokens: Tokens::NONE }, &receiver);
        }
        let answer = |number, elements| board.answer(&passage(true, number, elements), &sender);
        assert_eq!(answer(2, 64), Some((LABEL, Tokens::NONE)));
        assert_eq!(answer(2, 65), Some((Label::UNKNOWN, Tokens::NONE)), "not the same transfer");
        assert_eq!(answer(3, 64), None);
        assert_eq!(answer(6, 64), None, "not known yet");
        let other = known_as(6, 0);
        assert_eq!(board.answer(&passage(true, 2, 64), &other), None, "another link");
    }

    #[test]
    fn of_a_link_only_the_latest_steps_are_remembered() {
        let (sender, receiver) = (known_as(5, 0), known_as(5, 1));
        let mut board = Board::default();
        for number in 0..=WAITING_STEPS as u64 {
            let passage = passage(false, number, 64);
            board.tell(Told { passage, label: LABEL, tokens: Tokens::NONE }, &receiver);
        }
        assert_eq!(board.answer(&passage(true, 0, 64), &sender), None);
        assert!(board.answer(&passage(true, 1, 64), &sender).is_some());
    }
}
