/* nccltap.h: how an inference engine tells nccltap what its steps are.
 *
 * nccltap is preloaded into a process and counts its communication. It infers from message sizes whether
 * a step is prefill, decode or both, and says `unknown` where that cannot be told. An engine that marks
 * its steps by the functions below is not inferred: what it says is taken as it is.
 *
 *     nccltap_step step = {.size = sizeof step, .prefill_requests = 1, .prefill_tokens = 128};
 *     if (nccltap_step_begin) nccltap_step_begin(&step);
 *     ... the calls of NCCL and the launches of graphs that belong to the step ...
 *     if (nccltap_step_end) nccltap_step_end();
 *
 * The functions are in libnccltap.so and in no library to link with. They are declared weak, so that a
 * program runs with and without the tap; without it their addresses are null. A library that is linked
 * with -z defs, and a program that is linked without -fPIE, looks them up instead:
 *
 *     nccltap_step_begin_function begin = (nccltap_step_begin_function)dlsym(RTLD_DEFAULT, "nccltap_step_begin");
 *
 * A mark holds for all threads of the process: calls are ordered by when they ended, and every call between
 * begin and end belongs to the step. So a process marks one step at a time. What runs on the GPU does
 * not matter, only the calls of the host.
 *
 * A mark costs some 50 ns where the tap is alive, and does nothing where it is not: before the first
 * communicator of the process, when the tap is switched off, in a forked child that makes no communicator. It takes no lock,
 * allocates nothing and never fails. Signal handlers may not mark.
 */
#ifndef NCCLTAP_H
#define NCCLTAP_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Flags of a step. The first four say that it serves no request: its phase is `startup`. */
enum {
    NCCLTAP_DUMMY = 1 << 0,     /* an idle partner of a data-parallel group keeps in step with the others */
    NCCLTAP_WARM_UP = 1 << 1,   /* warms the engine up */
    NCCLTAP_CAPTURE = 1 << 2,   /* its work goes to CUDA graphs */
    NCCLTAP_PROFILE = 1 << 3,   /* measures how much memory a step takes */
    NCCLTAP_CONTINUED = 1 << 4, /* the rest of the step that was marked last, e.g. its sampling: not one more step */
};

/* What a step is. Fields may be added at the end; `size` says which the caller knows. */
typedef struct nccltap_step {
    uint32_t size;               /* sizeof(nccltap_step) */
    uint32_t flags;              /* NCCLTAP_* */
    uint32_t prefill_requests;   /* requests that compute tokens of their prompt, also again after preemption */
    uint32_t decode_requests;    /* requests that generate: all their tokens but the last one are computed */
    uint32_t prefill_tokens;     /* tokens that the former compute in this step, without padding */
    uint32_t decode_tokens;      /* tokens that the latter compute, speculative ones among them */
    uint32_t speculative_tokens; /* of those: guesses of a draft that are checked in this step */
} nccltap_step;

/* Where this worker stands: its rank and the number of ranks of each kind of parallelism, 0 and 1 where there is none,
 * 0 and 0 where it is not known. Fields may be added at the end; `size` says which the caller knows. */
typedef struct nccltap_coordinates {
    uint32_t size; /* sizeof(nccltap_coordinates) */
    uint32_t tensor_rank, tensor_size;
    uint32_t pipeline_rank, pipeline_size;
    uint32_t data_rank, data_size;     /* copies of the model */
    uint32_t expert_rank, expert_size; /* among the ranks that have whole experts, 0 and 1 where experts are split or there are none */
} nccltap_coordinates;

/* What an engine gives an all-reduce to, in vLLM's words. */
enum {
    NCCLTAP_PYNCCL = 1,           /* NCCL, by a communicator that ncclCommInitRank made */
    NCCLTAP_CUSTOM = 2,           /* the custom all-reduce of vLLM and SGLang */
    NCCLTAP_QUICK_REDUCE = 3,     /* QuickReduce */
    NCCLTAP_SYMM_MEM = 4,         /* PyTorch's symmetric memory */
    NCCLTAP_FLASHINFER = 5,       /* FlashInfer's all-reduce */
    NCCLTAP_FLASHINFER_FUSED = 6, /* FlashInfer's all-reduce with what follows it in the same kernel */
};

/* All-reduces of one size that the engine gave to one backend since it said so last. Fields may be added at the end; `size`
 * says which the caller knows. */
typedef struct nccltap_choice {
    uint32_t size;          /* sizeof(nccltap_choice) */
    uint32_t backend;       /* NCCLTAP_PYNCCL to NCCLTAP_FLASHINFER_FUSED */
    uint64_t message_bytes; /* of each */
    uint64_t calls;         /* how many. One that goes to a CUDA graph under capture counts once, launches of the graph do not */
} nccltap_choice;

typedef void (*nccltap_step_begin_function)(const nccltap_step *);
typedef void (*nccltap_step_describe_function)(const nccltap_step *);
typedef void (*nccltap_step_end_function)(void);
typedef void (*nccltap_place_function)(const nccltap_coordinates *);
typedef void (*nccltap_chosen_function)(const nccltap_choice *, uint32_t);

#ifndef NCCLTAP_NO_PROTOTYPES
/* A step begins. NULL when it is not known yet what it is; say it by nccltap_step_describe before the end,
 * or the step's phase is `unknown`. A step that is under way ends here. */
__attribute__((weak)) void nccltap_step_begin(const nccltap_step *step);

/* What the step under way is. Of a step that began with NULL it holds for all its calls, otherwise for those that follow. */
__attribute__((weak)) void nccltap_step_describe(const nccltap_step *step);

/* The step under way is over. Calls until the next one belong to none. */
__attribute__((weak)) void nccltap_step_end(void);

/* Where this worker stands in the engine's layout; the last word counts. Groups whose members all say so have the role that follows,
 * whatever runs on them. Once the process has communicators: before, nothing is kept. */
__attribute__((weak)) void nccltap_place(const nccltap_coordinates *at);

/* What the engine's all-reduces were given to since the last time: `number` choices, one after the other. The collector holds
 * them against what the tap saw by that time, calls and bytes of each backend, and says where they differ. All calls that the process
 * makes of a backend must be said, each after it was made, by whatever thread; a step's all-reduces at once, at its end, is often enough.
 * With 0 choices: calls since the last time are not spoken of, and are held against nothing. So an engine can speak of some steps only. */
__attribute__((weak)) void nccltap_chosen(const nccltap_choice *choices, uint32_t number);
#endif

#ifdef __cplusplus
}
#endif

#endif
