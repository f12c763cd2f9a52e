//! Simulated NCCL.
