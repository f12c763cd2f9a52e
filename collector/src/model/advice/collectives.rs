//! What an operation of NCCL takes: a latency and a bandwidth, of the best algorithm and protocol.
//!
//! This is the model by which NCCL itself chooses (`src/graph/tuning.cc`, `ncclTopoTuneModel` and
//! `ncclTopoGetAlgoTime`, NCCL 2.30), for ring and tree with each of the protocols LL, LL128 and Simple:
//! time = base latency + steps x latency of a hop + bytes / bandwidth, where a ring of n ranks makes
//! 2(n-1) steps and moves 2(n-1)/n of the message through each link, and a tree goes up and down.
//! Left out: NVLS, CollNet and PAT, the tree's correction factors, and limits per channel.

use nccltap_proto::Operation;

/// Generations whose constants differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Generation {
    Ampere,
    Hopper,
}

/// A kind of connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Bytes per second of one GPU, in one direction.
    pub bandwidth: f64,
    /// Seconds that a hop takes longer than NCCL's constants say; `latencyInter` of NCCL's graphs.
    pub latency: f64,
}

/// A group of ranks, as far as the time of its operations depends on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Group {
    /// Ranks.
    pub ranks: u32,
    /// Nodes that they are on.
    pub nodes: u32,
    /// The GPUs' generation.
    pub generation: Generation,
    /// Inside a node.
    pub nvlink: Link,
    /// Between nodes.
    pub network: Link,
}

const MICRO: f64 = 1e-6;
const GB: f64 = 1e9;

/// NCCL's protocols, with `baseLatencies` and `hwLatencies` in microseconds.
struct Protocol {
    name: &'static str,
    tree: Latencies,
    ring: Latencies,
}

struct Latencies {
    base: f64,
    nvlink: f64,
    network: f64,
}

const PROTOCOLS: [Protocol; 3] = [
    Protocol {
        name: "LL",
        tree: Latencies { base: 6.8, nvlink: 0.6, network: 5.0 },
        ring: Latencies { base: 6.6, nvlink: 0.6, network: 2.7 },
    },
    Protocol {
        name: "LL128",
        tree: Latencies { base: 14.0, nvlink: 1.25, network: 8.5 },
        ring: Latencies { base: 14.0, nvlink: 1.9, network: 4.0 },
    },
    Protocol {
        name: "Simple",
        tree: Latencies { base: 8.4, nvlink: 4.0, network: 14.0 },
        ring: Latencies { base: 8.4, nvlink: 3.4, network: 14.0 },
    },
];

/// `getNetOverhead`, for an Intel host.
const NETWORK_OVERHEAD: f64 = 1.0;

/// `llMaxBws`, in GB/s: on one node by the GPU, on two and on more by the host.
fn ll_limit(generation: Generation, nodes: u32) -> f64 {
    let of_gpu = match generation {
        Generation::Ampere => [87.7, 22.5, 19.0],
        Generation::Hopper => [141.0, 45.0, 35.0],
    };
    // NCCL takes the row of Volta for an Intel host.
    let of_host = [39.0, 39.0, 20.4];
    let row = if nodes == 1 { of_gpu } else { of_host };
    row[(nodes.clamp(1, 3) - 1) as usize] * GB
}

impl Group {
    /// Ranks of one node, on average.
    fn per_node(&self) -> f64 {
        f64::from(self.ranks) / f64::from(self.nodes)
    }

    /// What goes through each link of a ring at best: where it leaves the node, through the network
    /// cards of all GPUs that are in it.
    fn bus_bandwidth(&self) -> f64 {
        match self.nodes {
            1 => self.nvlink.bandwidth,
            _ => self.nvlink.bandwidth.min(self.network.bandwidth * self.per_node()),
        }
    }

    /// Seconds that `operation` on `bytes` takes, by NCCL's count: of an all-gather, what one rank
    /// gives; of a gather, what the root receives from all others.
    pub fn seconds(&self, operation: Operation, bytes: f64) -> f64 {
        if self.ranks < 2 {
            return 0.0;
        }
        let (n, others) = (f64::from(self.ranks), f64::from(self.ranks - 1));
        match operation {
            Operation::AllReduce => self.best(2.0 * others, bytes, true),
            // NCCL's model counts the whole result.
            Operation::AllGather | Operation::ReduceScatter => self.best(others, bytes * n, false),
            Operation::Broadcast | Operation::Reduce => self.broadcast(bytes),
            _ => self.transfer(bytes),
        }
    }

    /// The fastest of all rings and, for an all-reduce, trees.
    fn best(&self, steps: f64, bytes: f64, all_reduce: bool) -> f64 {
        let of = |protocol| {
            let ring = self.ring(protocol, steps, bytes);
            if all_reduce { ring.min(self.tree(protocol, bytes)) } else { ring }
        };
        PROTOCOLS.iter().map(of).fold(f64::INFINITY, f64::min)
    }

    fn ring(&self, protocol: &Protocol, steps: f64, bytes: f64) -> f64 {
        let Latencies { base, nvlink, network } = protocol.ring;
        let between = steps / f64::from(self.ranks - 1) * f64::from(self.nodes - 1);
        let within = match (self.nodes, protocol.name) {
            (1, _) => nvlink,
            (_, "Simple") => nvlink.max(3.0 * NETWORK_OVERHEAD),
            _ => nvlink.max(NETWORK_OVERHEAD),
        };
        // With one rank on each node nothing hides the network.
        let network = if self.per_node() == 1.0 { protocol.tree.network } else { network };
        let hops = (steps - between) * (within * MICRO + self.nvlink.latency)
            + between * (network * MICRO + self.network.latency);
        let bus = match protocol.name {
            "LL" => (self.bus_bandwidth() / 2.0).min(ll_limit(self.generation, self.nodes)),
            "LL128" => self.bus_bandwidth() * 0.92,
            _ => self.bus_bandwidth(),
        };
        base * MICRO + hops + bytes * steps / f64::from(self.ranks) / bus
    }

    fn tree(&self, protocol: &Protocol, bytes: f64) -> f64 {
        let Latencies { base, nvlink, network } = protocol.tree;
        let between = f64::from(self.nodes.ilog2());
        let hops = (self.per_node() - 1.0) * (nvlink * MICRO + self.nvlink.latency)
            + between * (network * MICRO + self.network.latency);
        let bus = self.bus_bandwidth() * 0.92;
        let bus = match protocol.name {
            "LL" => (bus / 3.8).min(ll_limit(self.generation, self.nodes)),
            "LL128" => bus * if self.nodes == 1 { 7.0 / 9.0 } else { 120.0 / 128.0 },
            _ => bus,
        };
        // Up and down.
        base * MICRO + 2.0 * hops + 2.0 * bytes / bus
    }

    /// A chain through all ranks, in pieces that follow each other.
    fn broadcast(&self, bytes: f64) -> f64 {
        let of = |protocol: &Protocol| {
            let Latencies { base, nvlink, network } = protocol.ring;
            let hop = match self.nodes {
                1 => nvlink * MICRO + self.nvlink.latency,
                _ => network * MICRO + self.network.latency,
            };
            let bus = match protocol.name {
                "LL" => (self.bus_bandwidth() / 2.0).min(ll_limit(self.generation, self.nodes)),
                "LL128" => self.bus_bandwidth() * 0.92,
                _ => self.bus_bandwidth(),
            };
            base * MICRO + hop + bytes / bus
        };
        PROTOCOLS.iter().map(of).fold(f64::INFINITY, f64::min)
    }

    /// vLLM's custom all-reduce: each rank reads what all the others have, between two barriers.
    pub(super) fn one_shot(&self, bytes: f64) -> f64 {
        let barrier = PROTOCOLS[0].ring.nvlink * MICRO + self.nvlink.latency;
        2.0 * barrier + f64::from(self.ranks - 1) * bytes / self.nvlink.bandwidth
    }

    /// One rank to another. NCCL has no model of transfers; this is a ring's single step, by LL or
    /// Simple, the protocols that transfers have.
    fn transfer(&self, bytes: f64) -> f64 {
        let of = |protocol: &Protocol| {
            let hop = match self.nodes {
                1 => protocol.ring.nvlink * MICRO + self.nvlink.latency,
                _ => protocol.tree.network * MICRO + self.network.latency,
            };
            let link = if self.nodes == 1 { self.nvlink } else { self.network };
            let bandwidth = match protocol.name {
                "LL" => (link.bandwidth / 2.0).min(ll_limit(self.generation, self.nodes)),
                _ => link.bandwidth,
            };
            protocol.ring.base * MICRO + hop + bytes / bandwidth
        };
        let protocols = PROTOCOLS.iter().filter(|protocol| protocol.name != "LL128");
        protocols.map(of).fold(f64::INFINITY, f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn group(ranks: u32, nodes: u32) -> Group {
        Group {
            ranks,
            nodes,
            generation: Generation::Hopper,
            nvlink: Link { bandwidth: 370.8e9, latency: 0.0 },
            network: Link { bandwidth: 50e9, latency: 0.0 },
        }
    }

    fn near(seconds: f64, microseconds: f64) -> bool {
        (seconds * 1e6 - microseconds).abs() < 0.05
    }

    #[test]
    fn small_all_reduces_take_what_nccl_says_that_they_take() {
        let of = |ranks, nodes| group(ranks, nodes).seconds(Operation::AllReduce, 8.0);
        // Ring and LL: 6.6 + 2 x 0.6; 6.6 + 6 x 0.6. Tree and LL over two nodes of four:
        // 6.8 + 2 (3 x 0.6 + 5.0).
        assert!(near(of(2, 1), 7.8));
        assert!(near(of(4, 1), 10.2));
        assert!(near(of(8, 2), 20.4));
        assert_eq!(of(1, 1), 0.0);
    }

    #[test]
    fn large_all_reduces_reach_the_bandwidth_of_the_links() {
        let bytes = 4e9;
        let bus = |ranks, nodes| {
            let seconds = group(ranks, nodes).seconds(Operation::AllReduce, bytes);
            bytes * 2.0 * f64::from(ranks - 1) / f64::from(ranks) / seconds
        };
        assert!((bus(4, 1) / 370.8e9 - 1.0).abs() < 0.01);
        assert!((bus(8, 2) / 200e9 - 1.0).abs() < 0.01, "four network cards of a node");
    }

    #[test]
    fn a_transfer_between_nodes_has_one_network_card() {
        let seconds = group(2, 2).seconds(Operation::Send, 5e9);
        assert!((seconds - 0.1).abs() < 1e-4);
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop::sample::select(vec![
            Operation::AllReduce,
            Operation::AllGather,
            Operation::ReduceScatter,
            Operation::Broadcast,
            Operation::Send,
        ])
    }

    proptest! {
        #[test]
        fn more_bytes_never_take_less_time(
            operation in operation(), ranks in 2u32..64, bytes in 0f64..1e9, more in 0f64..1e9,
        ) {
            for nodes in [1, 2] {
                let group = group(ranks, nodes);
                let (less, more) =
                    (group.seconds(operation, bytes), group.seconds(operation, bytes + more));
                prop_assert!(less > 0.0 && less.is_finite() && less <= more);
            }
        }

        #[test]
        fn a_slower_network_never_saves_time(
            operation in operation(), ranks in 2u32..64, bytes in 0f64..1e9, latency in 0f64..1e-3,
        ) {
            let fast = group(2 * ranks, 2);
            let slow = Group { network: Link { latency, ..fast.network }, ..fast };
            prop_assert!(fast.seconds(operation, bytes) <= slow.seconds(operation, bytes));
        }
    }
}
