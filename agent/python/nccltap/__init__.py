"""Tells nccltap, the tap in this process, what each step of the inference engine is.

The engine loads `nccltap.vllm` or `nccltap.sglang` as a plugin. They follow what the engine schedules and mark the steps
by the functions that libnccltap.so exports (`nccltap.marks`). In a process without the tap nothing happens.
"""

__version__ = "0.1.0"
