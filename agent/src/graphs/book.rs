//! Captures, graphs and executables: what each of them holds. Pure; handles are mere numbers here.
//!
//! A graph that holds nothing of NCCL's is not in the book, and neither is one that the tap did not see
//! being made: both carry out nothing that could be counted. Once something had to be left out for
//! want of room, such a graph may be the one, and what it holds counts as not known.

use super::manifest::Manifest;
use nccltap_proto::ringfile::ManifestOperation;
use std::collections::HashMap;

/// Graphs, captures, or executables with graphs in their nodes, that are alive at once.
pub(crate) const MOST: usize = 65_536;

/// Operations of one open group.
const LARGEST_GROUP: usize = 65_536;

/// Graphs inside graphs are followed so deep.
const DEEPEST: u32 = 32;

/// A `cudaGraph_t`.
pub(crate) type Graph = u64;
/// A `cudaGraphNode_t`.
pub(crate) type Node = u64;
/// A `cudaGraphExec_t`.
pub(crate) type Executable = u64;
/// What CUDA numbers a capture by.
pub(crate) type Capture = u64;

/// There was no room to follow one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Everything that is alive.
#[derive(Debug, Default)]
pub(crate) struct Book {
    captures: HashMap<Capture, Manifest>,
    /// The streams that captures began on: they end there.
    origins: HashMap<u64, Origin>,
    graphs: HashMap<Graph, Content>,
    /// Operations of groups that are still open, by number of the group.
    groups: HashMap<u32, Vec<(Capture, ManifestOperation)>>,
    /// What executables hold whose nodes can be given other graphs.
    executables: HashMap<Executable, Content>,
    /// Nodes of clones that somebody has asked for, each with the node that it is a copy of.
    clones: HashMap<Node, Node>,
    /// Something had no room.
    left_out: bool,
}

/// How a capture began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// What CUDA numbers it by.
    pub(crate) capture: Capture,
    /// The graph whose content it replaces.
    pub(crate) replaces: Option<Graph>,
}

/// What a graph or an executable holds.
#[derive(Clone, Debug, Default)]
struct Content {
    own: Manifest,
    parts: Vec<Part>,
}

/// A node that is made of graphs.
#[derive(Clone, Debug)]
struct Part {
    node: Which,
    holds: Holds,
}

/// Which node of its graph something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    /// This one.
    Node(Node),
    /// The copy of this node, in a clone. What handle it has, CUDA tells who asks.
    CopyOf(Node),
}

/// What an executable holds after one of its nodes was given another graph.
#[derive(Clone, Debug)]
pub(crate) enum Set {
    /// This.
    Holds(Manifest),
    /// The node is none that is known, and so what the executable holds is not.
    Unknown {
        /// Whether the graph that the node was given holds nothing.
        child_is_empty: bool,
    },
}

#[derive(Clone, Debug)]
enum Holds {
    /// A copy of a graph, as it stood.
    Copy(Manifest),
    /// A graph that belongs to the node, and may still change.
    Owned(Graph),
    /// Graphs of which the GPU chooses one, or none, or one again and again.
    Condition(Vec<Graph>),
}

impl Content {
    fn is_empty(&self) -> bool {
        self.own.is_empty() && self.own.is_complete() && self.parts.is_empty()
    }
}

impl Book {
    /// A capture has begun on `stream`.
    pub(crate) fn begin(&mut self, stream: u64, origin: Origin) -> Result<(), Full> {
        self.room(self.origins.len())?;
        self.origins.insert(stream, origin);
        Ok(())
    }

    /// The capture that began on `stream`, which is about to end.
    pub(crate) fn take_origin(&mut self, stream: u64) -> Option<Origin> {
        self.origins.remove(&stream)
    }

    /// An operation was captured, in the open group of this number, or in none (0).
    pub(crate) fn captured(
        &mut self,
        capture: Capture,
        operation: ManifestOperation,
        group: u32,
    ) -> Result<(), Full> {
        if group == 0 {
            self.capture(capture)?.add(vec![operation]);
            return Ok(());
        }
        self.room(self.groups.len())?;
        let operations = self.groups.entry(group).or_default();
        if operations.len() >= LARGEST_GROUP {
            self.capture(capture)?.spoil();
            return Err(Full);
        }
        operations.push((capture, operation));
        Ok(())
    }

    /// A group has ended, and NCCL has launched what was in it, or not.
    pub(crate) fn group_ended(&mut self, group: u32, launched: bool) -> Result<(), Full> {
        let mut rest = self.groups.remove(&group).unwrap_or_default();
        while launched && let Some((capture, _)) = rest.first() {
            let capture = *capture;
            let (here, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|c| c.0 == capture);
            rest = others;
            self.capture(capture)?.add(here.into_iter().map(|(_, operation)| operation).collect());
        }
        Ok(())
    }

    /// A graph that was launched on a capturing stream has become part of that capture.
    pub(crate) fn launched_into(
        &mut self,
        capture: Capture,
        manifest: Option<&Manifest>,
    ) -> Result<(), Full> {
        let content = self.capture(capture)?;
        match manifest {
            Some(manifest) => content.extend(manifest, false),
            None => content.spoil(),
        }
        Ok(())
    }

    /// A capture has ended. Where that failed, there is no graph, and what it held is nobody's.
    pub(crate) fn end(&mut self, origin: Origin, graph: Option<Graph>) -> Result<(), Full> {
        let captured = self.captures.remove(&origin.capture).unwrap_or_default();
        let Some(graph) = graph else { return Ok(()) };
        if origin.replaces.is_some()
            && let Some(content) = self.graphs.get_mut(&graph)
        {
            content.own = Manifest::default();
        }
        if captured.is_empty() && captured.is_complete() {
            return Ok(());
        }
        self.graph(graph)?.own.extend(&captured, false);
        Ok(())
    }

    /// `clone` holds what `graph` holds, from now on for itself.
    pub(crate) fn clone_graph(&mut self, clone: Graph, graph: Graph) -> Result<(), Full> {
        self.graphs.remove(&clone);
        let mut content = self.snapshot(graph);
        for part in &mut content.parts {
            let (Which::Node(node) | Which::CopyOf(node)) = part.node;
            part.node = Which::CopyOf(node);
        }
        if !self.graphs.contains_key(&graph) {
            content.own = self.manifest_of(graph);
        }
        if !content.is_empty() {
            *self.graph(clone)? = content;
        }
        Ok(())
    }

    /// `node` of `clone` is the copy of `original`.
    pub(crate) fn found_in_clone(
        &mut self,
        clone: Graph,
        node: Node,
        original: Node,
    ) -> Result<(), Full> {
        let Some(content) = self.graphs.get_mut(&clone) else { return Ok(()) };
        let part = content.parts.iter_mut().find(|part| part.node == Which::CopyOf(original));
        // Most nodes are kernels, which nobody needs to know.
        let Some(part) = part else { return Ok(()) };
        part.node = Which::Node(node);
        // For what was made executable before.
        self.room(self.clones.len())?;
        self.clones.insert(node, original);
        Ok(())
    }

    /// The part of some graph that is `node`, and the graph.
    fn part_of_graph(&mut self, node: Node) -> Option<&mut Part> {
        let mut parts = self.graphs.values_mut().flat_map(|content| &mut content.parts);
        parts.find(|part| part.node == Which::Node(node))
    }

    /// What `node` of some graph holds is now `holds`. False when no graph is known to have it.
    fn set(&mut self, node: Node, holds: Holds) -> bool {
        let Some(part) = self.part_of_graph(node) else { return false };
        let before = std::mem::replace(&mut part.holds, holds);
        before.graphs().into_iter().for_each(|graph| self.destroy(graph));
        true
    }

    /// `node` of some graph is a copy of `child` from now on. False when no graph is known to have it, and it
    /// matters.
    pub(crate) fn set_copy(&mut self, node: Node, child: Graph) -> bool {
        let manifest = self.manifest_of(child);
        let empty = manifest.is_empty() && manifest.is_complete();
        self.set(node, Holds::Copy(manifest)) || empty
    }

    /// `child` is a part of `node` of some graph from now on. False when no graph is known to have that.
    pub(crate) fn set_owned(&mut self, node: Node, child: Graph) -> bool {
        self.set(node, Holds::Owned(child))
    }

    /// The graph inside `node` of some graph is `child`, and may be changed from now on.
    pub(crate) fn open(&mut self, node: Node, child: Graph) -> Result<(), Full> {
        let Some(part) = self.part_of_graph(node) else { return Ok(()) };
        let Holds::Copy(_) = part.holds else { return Ok(()) };
        let Holds::Copy(own) = std::mem::replace(&mut part.holds, Holds::Owned(child)) else {
            return Ok(());
        };
        self.graphs.remove(&child);
        *self.graph(child)? = Content { own, parts: Vec::new() };
        Ok(())
    }

    /// `node` of `graph` is a copy of `child`.
    pub(crate) fn add_copy(&mut self, graph: Graph, node: Node, child: Graph) -> Result<(), Full> {
        let manifest = self.manifest_of(child);
        self.add(graph, Part { node: Which::Node(node), holds: Holds::Copy(manifest) })
    }

    /// `child` has become a part of `node` of `graph`.
    pub(crate) fn add_owned(&mut self, graph: Graph, node: Node, child: Graph) -> Result<(), Full> {
        self.add(graph, Part { node: Which::Node(node), holds: Holds::Owned(child) })
    }

    /// `node` of `graph` is a condition, with `bodies` that the GPU chooses from.
    pub(crate) fn add_condition(
        &mut self,
        graph: Graph,
        node: Node,
        bodies: Vec<Graph>,
    ) -> Result<(), Full> {
        for body in &bodies {
            self.graphs.remove(body);
        }
        self.add(graph, Part { node: Which::Node(node), holds: Holds::Condition(bodies) })
    }

    fn add(&mut self, graph: Graph, part: Part) -> Result<(), Full> {
        let content = self.graph(graph)?;
        if content.parts.len() >= MOST {
            content.own.spoil();
            return Err(Full);
        }
        content.parts.push(part);
        Ok(())
    }

    /// A node is gone from its graph.
    pub(crate) fn destroy_node(&mut self, node: Node) {
        let mut gone = Vec::new();
        self.clones.remove(&node);
        for content in self.graphs.values_mut() {
            content.parts.retain(|part| {
                let stays = part.node != Which::Node(node);
                if !stays {
                    gone.extend(part.holds.graphs());
                }
                stays
            });
        }
        gone.into_iter().for_each(|graph| self.destroy(graph));
    }

    /// A graph is gone, with the graphs that belong to its nodes. Its handle may soon be another's.
    pub(crate) fn destroy(&mut self, graph: Graph) {
        let mut gone = vec![graph];
        while let Some(graph) = gone.pop() {
            if let Some(content) = self.graphs.remove(&graph) {
                gone.extend(content.parts.iter().flat_map(|part| part.holds.graphs()));
            }
        }
    }

    /// An executable is made of `graph` as it stands, or is given what that holds. Says what a launch
    /// carries out from now on.
    pub(crate) fn instantiate(&mut self, executable: Executable, graph: Graph) -> Manifest {
        let manifest = self.manifest_of(graph);
        self.executables.remove(&executable);
        // Few executables ever get another graph for one of their nodes, and only those with parts can.
        let parts = self.graphs.get(&graph).map_or(0, |content| content.parts.len());
        if parts > 0 && self.executables.len() < MOST {
            let content = self.snapshot(graph);
            self.executables.insert(executable, content);
        }
        manifest
    }

    /// A node of an executable is given what `child` holds. Says what a launch carries out from now on.
    pub(crate) fn set_child(&mut self, executable: Executable, node: Node, child: Graph) -> Set {
        let manifest = self.manifest_of(child);
        let child_is_empty = manifest.is_empty() && manifest.is_complete();
        let copy = self.clones.get(&node).map(|original| Which::CopyOf(*original));
        let content = self.executables.get_mut(&executable);
        let Some(content) = content else { return Set::Unknown { child_is_empty } };
        let part = content
            .parts
            .iter_mut()
            .find(|part| part.node == Which::Node(node) || Some(part.node) == copy);
        let Some(part) = part else { return Set::Unknown { child_is_empty } };
        part.holds = Holds::Copy(manifest);
        let content = content.clone();
        Set::Holds(self.sum(&content, 0))
    }

    /// An executable is gone. Its handle may soon be another's.
    pub(crate) fn destroy_executable(&mut self, executable: Executable) {
        self.executables.remove(&executable);
    }

    /// What `graph` holds, its parts with it.
    fn manifest_of(&self, graph: Graph) -> Manifest {
        self.manifest_at(graph, 0)
    }

    fn manifest_at(&self, graph: Graph, depth: u32) -> Manifest {
        match self.graphs.get(&graph) {
            Some(content) => self.sum(content, depth),
            None => {
                let mut nothing = Manifest::default();
                if self.left_out {
                    nothing.spoil();
                }
                nothing
            }
        }
    }

    fn sum(&self, content: &Content, depth: u32) -> Manifest {
        let mut sum = content.own.clone();
        if depth >= DEEPEST {
            sum.spoil();
            return sum;
        }
        for part in &content.parts {
            match &part.holds {
                Holds::Copy(manifest) => sum.extend(manifest, false),
                Holds::Owned(graph) => sum.extend(&self.manifest_at(*graph, depth + 1), false),
                Holds::Condition(bodies) => {
                    for body in bodies {
                        sum.extend(&self.manifest_at(*body, depth + 1), true);
                    }
                }
            }
        }
        sum
    }

    /// What `graph` holds, each of its parts as it stands.
    fn snapshot(&self, graph: Graph) -> Content {
        let Some(content) = self.graphs.get(&graph) else { return Content::default() };
        let part = |part: &Part| {
            let alone = Content { own: Manifest::default(), parts: vec![part.clone()] };
            Part { node: part.node, holds: Holds::Copy(self.sum(&alone, 0)) }
        };
        Content { own: content.own.clone(), parts: content.parts.iter().map(part).collect() }
    }

    fn capture(&mut self, capture: Capture) -> Result<&mut Manifest, Full> {
        if !self.captures.contains_key(&capture) {
            self.room(self.captures.len())?;
        }
        Ok(self.captures.entry(capture).or_default())
    }

    fn graph(&mut self, graph: Graph) -> Result<&mut Content, Full> {
        if !self.graphs.contains_key(&graph) {
            if self.graphs.len() >= MOST {
                self.graphs.retain(|_, content| !content.is_empty());
            }
            self.room(self.graphs.len())?;
        }
        Ok(self.graphs.entry(graph).or_default())
    }

    fn room(&mut self, used: usize) -> Result<(), Full> {
        if used < MOST {
            return Ok(());
        }
        self.left_out = true;
        Err(Full)
    }
}

impl Holds {
    /// The graphs that end with the node.
    fn graphs(&self) -> Vec<Graph> {
        match self {
            Self::Copy(_) => Vec::new(),
            Self::Owned(graph) => vec![*graph],
            Self::Condition(bodies) => bodies.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
