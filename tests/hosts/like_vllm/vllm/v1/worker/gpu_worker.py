"""A worker with the functions of vLLM's (0.20.0) that the plugin hooks. Each step reduces as many elements as it has tokens."""

from types import SimpleNamespace

from pynccl import Nccl


class Worker:
    def __init__(self):
        self.vllm_config = SimpleNamespace(parallel_config=SimpleNamespace(enable_expert_parallel=False))
        self.nccl = Nccl()
        self.comm = self.nccl.communicator(2, 0)

    def determine_available_memory(self):
        self.nccl.all_reduce(self.comm, 2048)

    def compile_or_warm_up_model(self, warm_up_step):
        self.execute_model(warm_up_step)
        self.sample_tokens(None)

    def execute_dummy_batch(self):
        self.nccl.all_reduce(self.comm, 1000)

    def execute_model(self, scheduler_output):
        self.tokens = scheduler_output.total_num_scheduled_tokens
        self.nccl.all_reduce(self.comm, self.tokens)

    def sample_tokens(self, grammar_output):
        self.nccl.all_reduce(self.comm, self.tokens)
