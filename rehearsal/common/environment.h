/* The environment of the simulator: every variable it reads, once. `environment.c` reads them; the table
 * in rehearsal/README.md is held against this one by a test.
 *
 * The first is the switch. Without it no simulated library does anything: see rehearsal_required(). */
#ifndef ENVIRONMENT_H_
#define ENVIRONMENT_H_

/* X(name after NCCLTAP_REHEARSAL, value where unset, meaning) */
#define FOR_EACH_SETTING(X)                                                                           \
  X(SWITCH, "", "", "anything: this process may use simulated libraries; set by `nccltap rehearse`")         \
  X(COUNTS_DIR, "_COUNTS_DIR", "", "directory of the simulator's own account of what it was asked")   \
  X(TIMES, "_TIMES", "", "1: the account says of each operation when it was")                          \
  X(SAID, "_SAID", "", "1: somebody has already said on stderr that GPUs are simulated")              \
  X(GPU, "_GPU", "h100", "which GPU every device is: h100, h200, a100, b200")                         \
  X(GPUS, "_GPUS", "8", "devices of this machine")                                                    \
  X(MEMORY_MIB, "_MEMORY_MIB", "", "memory of a device, in place of what the GPU has")                \
  X(CUDA_VERSION, "_CUDA_VERSION", "", "what runtime and driver say, as 12040 (else: by the library)") \
  X(CUDNN_VERSION, "_CUDNN_VERSION", "90100", "what cuDNN says")                                      \
  X(COPY_MAX, "_COPY_MAX", "67108864", "copies of more bytes than this move nothing")                 \
  X(REAL_READS, "_REAL_READS", "", "copies from device to host deliver 1: bytes, 0: zeros (else: bytes with rendezvous, zeros without)") \
  X(CONDITIONAL_RUNS, "_CONDITIONAL_RUNS", "1",                                                       \
    "how often the body of a conditional node runs whose default value is not 0")                     \
  X(NCCL_VERSION, "_NCCL_VERSION", "22105", "what ncclGetVersion says")                               \
  X(HANG_AFTER, "_HANG_AFTER", "", "this data-moving NCCL call of the process, from 1, never returns") \
  X(FAIL_AFTER, "_FAIL_AFTER", "", "this data-moving NCCL call returns ncclInternalError")            \
  X(CALL_NS, "_CALL_NS", "", "every data-moving NCCL call keeps the processor busy so many nanoseconds") \
  X(ERRNO, "_ERRNO", "", "every data-moving NCCL call leaves this in errno")                          \
  X(RENDEZVOUS, "_RENDEZVOUS", "",                                                                    \
    "directory in which ranks meet: operations then wait for all ranks and move real data")

#define SETTING_NUMBER(id, suffix, unset, meaning) SETTING_##id,
enum setting { FOR_EACH_SETTING(SETTING_NUMBER) SETTINGS };

/* The value, or what stands for it where the variable is unset or empty. Never NULL. */
const char *environment_text(enum setting setting);
/* The same as a number; 0 for what is not one. */
long environment_number(enum setting setting);

/* Ends the process with one line on stderr unless the switch is set: a simulated library that got into a
 * process by accident must not pass for a real one. `library` is the name to give. */
void rehearsal_required(const char *library);

#endif
