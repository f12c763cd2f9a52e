/* kernels CORNER: launches of kernels that move data between GPUs, as vLLM and PyTorch make them; tests/kernels.rs
 * names and explains them. */
#include "cuda.h"
#include "nccltap.h"

#include <dlfcn.h>
#include <stdint.h>

struct configuration { /* cudaLaunchConfig_t */
  dim3 grid, block;
  size_t shared_bytes;
  cudaStream_t stream;
  void *attributes;
  unsigned attribute_count;
};
cudaError_t cudaLaunchKernelExC(const struct configuration *with, const void *function, void **arguments);
cudaError_t __cudaGetKernel(cudaKernel_t *kernel, const void *function);
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **arguments, size_t shared_bytes,
                               cudaStream_t stream);

#define CUSTOM(stage, type, ranks) \
  "_ZN4vllm26cross_device_reduce_" stage "stageI" type "Li" ranks "EEEvPNS_8RankDataENS_11RankSignalsEPNS_6SignalEPT_ii"
#define SYMMETRIC(rest) "_ZN64_GLOBAL__N__62167398_25_CUDASymmetricMemoryOps_cu_70c0f2ac_13507" rest

static const dim3 one = {1, 1, 1};
static cudaStream_t stream;

/* What a library that nvcc compiled has: a function for each kernel, far enough from the next. */
static struct { _Alignas(64) char code; } stubs[64];
static int registered;

static const void *kernel(const char *name) {
  const char *stub = &stubs[registered++].code;
  __cudaRegisterFunction(NULL, stub, (char *)name, name, -1, NULL, NULL, NULL, NULL, NULL);
  return stub;
}

/* vLLM's arguments: six, of which the last two are rank and packs of 16 bytes. */
static void reduce(const void *function, int rank, int bytes) {
  char data[8], signals[64];
  void *null = NULL;
  int packs = bytes / 16;
  void *arguments[] = {data, signals, &null, &null, &rank, &packs};
  MUST(cudaLaunchKernel(function, one, one, arguments, 0, stream) == cudaSuccess);
}

static void unrelated(const void *function) {
  MUST(cudaLaunchKernel(function, one, one, NULL, 0, stream) == cudaSuccess);
}

/* Tensor parallelism of two: small all-reduces by a kernel of vLLM's, large ones by NCCL. */
static void eager(void) {
  ncclComm_t comm = communicator('a', 2, 1);
  const void *small = kernel(CUSTOM("1", "13__nv_bfloat16", "2"));
  const void *other = kernel("_ZN4vllm15rms_norm_kernelIN3c108BFloat16ELi8EEEvPT_PKS3_S6_fii");
  for (int i = 0; i < 65; i++) {
    reduce(small, 1, 8192);
    unrelated(other);
  }
  for (int i = 0; i < 5; i++) reduce(small, 1, 1 << 20);
  for (int i = 0; i < 3; i++) all_reduce_on(comm, 8 << 20, stream);
}

/* Decode: the kernels are captured once, and carried out at each launch of the graph. */
static void graphs(void) {
  ncclComm_t comm = communicator('a', 4, 2);
  const void *one_stage = kernel(CUSTOM("1", "6__half", "4")), *two_stage = kernel(CUSTOM("2", "6__half", "4"));
  reduce(one_stage, 2, 4096);
  begin_capture(stream);
  for (int i = 0; i < 65; i++) reduce(one_stage, 2, 8192);
  for (int i = 0; i < 7; i++) reduce(two_stage, 2, 1 << 19);
  all_reduce_on(comm, 64, stream);
  cudaGraphExec_t executable = instantiated(end_capture(stream));
  launch(executable, stream, 127);
  reduce(two_stage, 2, 4096);
}

/* PyTorch's symmetric memory and FlashInfer: sizes are elsewhere among the arguments. */
static void others(void) {
  communicator('a', 8, 5);
  size_t numel = 3072, rank = 5, world = 8, offset = 0;
  void *null = NULL;
  void *multimem[] = {&null, &numel, &null, &rank, &world};
  struct configuration with = {one, one, 0, stream, NULL, 0};
  const void *function = kernel(SYMMETRIC("26multimem_all_reduce_kernelIN3c108BFloat16ELi8EEEvPT_mPPjmm"));
  for (int i = 0; i < 9; i++) MUST(cudaLaunchKernelExC(&with, function, multimem) == cudaSuccess);
  numel = 1024;
  void *two_shot[] = {&null, &null, &offset, &numel, &null, &rank, &world, &offset};
  function = kernel(SYMMETRIC("26two_shot_all_reduce_kernelIfLi8ELi8ELb0ELb0EEEvPPT_S2_mmPPjmmm"));
  for (int i = 0; i < 4; i++) MUST(cudaLaunchKernel(function, one, one, two_shot, 0, stream) == cudaSuccess);
  struct { int ranks, rank, size, hidden; } fusion = {8, 5, 2048, 1024};
  void *fused[] = {&fusion};
  function = kernel("_ZN10flashinfer23trtllm_allreduce_fusion39allreduce_fusion_kernel_oneshot_lamport"
                    "ILNS0_22AllReduceFusionPatternE1E13__nv_bfloat16Li8ELb1ELb0EEEvNS0_21AllReduceFusionParamsIT0_EE");
  for (int i = 0; i < 6; i++) MUST(cudaLaunchKernelExC(&with, function, fused) == cudaSuccess);
  /* What only counts: nothing says how much these move. */
  function = kernel("_ZN7deep_ep11internode_ll8dispatchILb1ELb0ELi7168EEEvPvS1_Pi");
  for (int i = 0; i < 2; i++) MUST(cudaLaunchCooperativeKernel(function, one, one, NULL, 0, stream) == cudaSuccess);
  function = kernel("_ZN4vllm26cross_device_reduce_1stageIfLi2EEEvPT_x");
  for (int i = 0; i < 3; i++) unrelated(function);
}

/* One kernel of each further path: with a size among its arguments, or without. */
static void rest(void) {
  communicator('a', 8, 3);
  size_t numel = 6144, bytes = 4096, rank = 3, world = 8, offset = 0;
  void *null = NULL;
  void *one_shot[] = {&null, &null, &null, &offset, &numel, &null, &rank, &world};
  const void *function = kernel(SYMMETRIC("26one_shot_all_reduce_kernelIfLi16ELin1EEEvPPT_S2_S2_mmPPjmm"));
  for (int i = 0; i < 5; i++) MUST(cudaLaunchKernel(function, one, one, one_shot, 0, stream) == cudaSuccess);
  void *multimem[] = {&null, &null, &numel, &null, &rank, &world, &offset};
  function = kernel(SYMMETRIC("31multimem_one_shot_reduce_kernelIN3c108BFloat16ELi8EEEvPT_S4_mPPjmml"));
  for (int i = 0; i < 4; i++) MUST(cudaLaunchKernel(function, one, one, multimem, 0, stream) == cudaSuccess);
  void *gather[] = {&null, &null, &bytes, &null, &rank, &world};
  function = kernel(SYMMETRIC("26multimem_all_gather_kernelILi16EEEvPcS1_mPPjmm"));
  for (int i = 0; i < 3; i++) MUST(cudaLaunchKernel(function, one, one, gather, 0, stream) == cudaSuccess);
  struct { int ranks, rank, size, hidden; } fusion = {8, 3, 2048, 1024};
  void *alone[] = {&fusion};
  function = kernel("_ZN10flashinfer23trtllm_allreduce_fusion39allreduce_fusion_kernel_oneshot_lamport"
                    "ILNS0_22AllReduceFusionPatternE0E6__halfLi8ELb1ELb0EEEvNS0_21AllReduceFusionParamsIT0_EE");
  for (int i = 0; i < 7; i++) MUST(cudaLaunchKernel(function, one, one, alone, 0, stream) == cudaSuccess);
  static const char *const silent[] = {
      "_ZN11quickreduce27allreduce_prototype_twoshotINS_16AllReduceTwoshotI6__halfNS_7CodecFPIS2_Li8EEELb0EEES2_EEvPKT0_",
      "_ZN12tensorrt_llm7kernels17moeAllToAllKernelILb0EEEvNS0_21FusedMoeCommKernelParamE",
      "_ZN7deep_ep9intranode8dispatchILi8ELi768ELi8192EEEvP4int4PfS3_Pi",
  };
  for (size_t kind = 0; kind < sizeof silent / sizeof *silent; kind++) {
    function = kernel(silent[kind]);
    for (size_t i = 0; i <= kind; i++) unrelated(function);
  }
}

/* CUDA 13: a program asks for the kernel behind its function first, and launches that. */
static void newer(void) {
  communicator('a', 2, 0);
  cudaKernel_t handle = NULL;
  MUST(__cudaGetKernel(&handle, kernel(CUSTOM("1", "13__nv_bfloat16", "2"))) == cudaSuccess);
  char data[8], signals[64];
  void *null = NULL;
  int rank = 0, packs = 512;
  void *arguments[] = {data, signals, &null, &null, &rank, &packs};
  for (int i = 0; i < 11; i++) MUST(__cudaLaunchKernel(handle, one, one, arguments, 0, stream) == cudaSuccess);
}

/* Kernels that are compiled while the program runs: the driver finds and launches them. */
static void driver(void) {
  communicator('a', 2, 0);
  void *cuda = dlopen("libcuda.so.1", RTLD_NOW);
  MUST(cuda);
  int (*get)(void **, void *, const char *) = dlsym(cuda, "cuModuleGetFunction");
  int (*launch_one)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **,
                    void **) = dlsym(cuda, "cuLaunchKernel");
  int (*launch_ex)(const struct configuration *, void *, void **, void **) = dlsym(cuda, "cuLaunchKernelEx");
  MUST(get && launch_one && launch_ex);
  void *function = NULL, *other = NULL;
  MUST(get(&function, NULL, CUSTOM("2", "f", "2")) == 0 && get(&other, NULL, "triton_red_fused_add_mean_3") == 0);
  char data[8], signals[64];
  void *null = NULL;
  int rank = 0, packs = 64;
  void *arguments[] = {data, signals, &null, &null, &rank, &packs};
  struct configuration with = {one, one, 0, stream, NULL, 0};
  for (int i = 0; i < 5; i++) MUST(launch_one(function, 1, 1, 1, 1, 1, 1, 0, stream, arguments, NULL) == 0);
  for (int i = 0; i < 8; i++) MUST(launch_ex(&with, function, arguments, NULL) == 0);
  for (int i = 0; i < 50; i++) MUST(launch_one(other, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL) == 0);
}

/* No communicator at all: the first such launch brings the tap to life. */
static void alone(void) {
  const void *function = kernel(CUSTOM("1", "13__nv_bfloat16", "2"));
  for (int i = 0; i < 10; i++) reduce(function, 0, 256);
}

static nccltap_choice choice(uint32_t backend, uint64_t bytes, uint64_t calls) {
  return (nccltap_choice){.size = sizeof(nccltap_choice), .backend = backend, .message_bytes = bytes, .calls = calls};
}

/* An engine that says what it gave its all-reduces to. Those it captured it says once, however often the graph is launched. */
static void witness(void) {
  ncclComm_t comm = communicator('a', 2, 1);
  const void *custom = kernel(CUSTOM("1", "13__nv_bfloat16", "2"));
  for (int i = 0; i < 5; i++) reduce(custom, 1, 1 << 20);
  begin_capture(stream);
  for (int i = 0; i < 65; i++) reduce(custom, 1, 8192);
  cudaGraphExec_t executable = instantiated(end_capture(stream));
  for (int i = 0; i < 3; i++) all_reduce_on(comm, 8 << 20, stream);
  nccltap_choice step[] = {choice(NCCLTAP_CUSTOM, 1 << 20, 5), choice(NCCLTAP_CUSTOM, 8192, 65), choice(NCCLTAP_PYNCCL, 16 << 20, 3)};
  if (nccltap_chosen) nccltap_chosen(step, 3);
  launch(executable, stream, 127);
  /* Of what it is doing now it will speak at the end of the step. */
  reduce(custom, 1, 8192);
}

/* The same, and all-reduces by a kernel that is on no list. */
static void overlooked(void) {
  witness();
  const void *unknown = kernel("_ZN10flashinfer9all_reduce10all_new_arIfEEvPT_");
  for (int i = 0; i < 4; i++) unrelated(unknown);
  nccltap_choice step[] = {choice(NCCLTAP_CUSTOM, 8192, 1), choice(NCCLTAP_FLASHINFER, 4096, 4)};
  if (nccltap_chosen) nccltap_chosen(step, 2);
}

int main(int argc, char **argv) {
  static const struct { const char *name; void (*run)(void); } corners[] = {
      {"eager", eager}, {"graphs", graphs}, {"others", others}, {"rest", rest}, {"newer", newer}, {"driver", driver}, {"alone", alone},
      {"witness", witness}, {"overlooked", overlooked},
  };
  MUST(argc > 1);
  stream = new_stream();
  for (size_t i = 0; i < sizeof corners / sizeof *corners; i++) {
    if (strcmp(argv[1], corners[i].name) == 0) {
      corners[i].run();
      return 0;
    }
  }
  return 98;
}
