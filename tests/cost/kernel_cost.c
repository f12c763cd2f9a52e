/* What the tap adds to the launch of a kernel that is none of its business: nearly every launch of an engine.
 *
 *   kernel_cost PAIRS [LAUNCHES]
 *
 * In one process, by one loop, through one pointer that is now the `cudaLaunchKernel` that everybody gets and now the
 * runtime's own, looked up by glibc's own dlsym: blocks of 64 launches in pairs, the order of each pair by a coin. Then
 * the same of a kernel that is on the tap's list, which is recorded. What a simulated launch takes, and how that
 * wanders, is the same in both. Without the tap both are the same function, and what is printed then is what the method
 * itself cannot tell from nothing. Also what registering a kernel takes more, as a library does when it is loaded.
 *
 * With LAUNCHES: launches a kernel that is not on the list so often and says nothing, for an instruction count. */
#include "spread.h"
#include "ticks.h"
#include "cuda_runtime.h"
#include "nccl.h"
#include <dlfcn.h>
#include <stdio.h>

enum { CALLS = 64, WARM_UP = 100 };

typedef cudaError_t (*launch_t)(const void *, dim3, dim3, void **, size_t, cudaStream_t);
typedef void (*enter_t)(void **, const char *, char *, const char *, int, void *, void *, void *, void *, int *);
typedef void *(*dlsym_t)(void *, const char *);

static const char *const other = "_ZN2at6native29vectorized_elementwise_kernelILi4ENS0_15CUDAFunctor_addIN3c108BFloat16EEE"
                                 "St5arrayIPcLm3EEEEviT0_T1_";
static const char *const listed =
    "_ZN4vllm26cross_device_reduce_1stageI13__nv_bfloat16Li2EEEvPNS_8RankDataENS_11RankSignalsEPNS_6SignalEPT_ii";
static struct { _Alignas(64) char code; } stubs[2];
static cudaStream_t stream;

__attribute__((noinline, aligned(64))) static double launches(void *function, const void *stub) {
  launch_t launch = (launch_t)function;
  static int rank = 0, packs = 512;
  static void *null;
  void *arguments[] = {&null, &null, &null, &null, &rank, &packs};
  dim3 one = {1, 1, 1};
  uint64_t start = __rdtsc();
  for (int i = 0; i < CALLS; i++)
    if (launch(stub, one, one, arguments, 0, stream)) exit(1);
  return (double)(__rdtsc() - start) / CALLS;
}

__attribute__((noinline, aligned(64))) static double registrations(void *function, const void *stub) {
  enter_t enter = (enter_t)function;
  uint64_t start = __rdtsc();
  for (int i = 0; i < CALLS; i++) enter(NULL, stub, NULL, other, -1, NULL, NULL, NULL, NULL, NULL);
  return (double)(__rdtsc() - start) / CALLS;
}

static void compare(const char *what, double (*block)(void *, const void *), const void *stub, void *direct,
                    void *usual, int pairs, double ns) {
  double *a = malloc(pairs * sizeof *a), *b = malloc(pairs * sizeof *b), *d = malloc(pairs * sizeof *d);
  if (!a || !b || !d) exit(1);
  for (int i = -WARM_UP; i < pairs; i++) {
    int turned = rand() & 1;
    double first = block(turned ? usual : direct, stub), second = block(turned ? direct : usual, stub);
    double plain = turned ? second : first, with = turned ? first : second;
    if (i < 0) continue;
    a[i] = plain * ns, b[i] = with * ns, d[i] = (with - plain) * ns;
  }
  struct spread plain = spread_of(a, pairs), with = spread_of(b, pairs), added = spread_of(d, pairs);
  printf("%-28s the runtime's %6.1f ns, the process's %6.1f ns; added %+5.1f ns (95 %%: %+.1f to %+.1f)\n", what,
         plain.median, with.median, added.median, added.low, added.high);
  free(a), free(b), free(d);
}

int main(int argc, char **argv) {
  int pairs = argc > 1 ? atoi(argv[1]) : 0;
  ncclComm_t comm;
  ncclUniqueId id;
  ncclGetUniqueId(&id);
  if (ncclCommInitRank(&comm, 2, id, 0) || cudaStreamCreateWithFlags(&stream, 1)) return 1;
  const void *unrelated = &stubs[0].code, *ours = &stubs[1].code;
  __cudaRegisterFunction(NULL, unrelated, NULL, other, -1, NULL, NULL, NULL, NULL, NULL);
  __cudaRegisterFunction(NULL, ours, NULL, listed, -1, NULL, NULL, NULL, NULL, NULL);
  if (argc > 2) {
    for (int i = 0; i < atoi(argv[2]); i += CALLS) launches((void *)cudaLaunchKernel, unrelated);
    return 0;
  }
  void *libc = dlopen("libc.so.6", RTLD_NOW), *cuda = dlopen("libcudart.so.12", RTLD_NOW);
  if (pairs < 100 || !libc || !cuda) {
    fprintf(stderr, "usage: kernel_cost PAIRS(>= 100) [LAUNCHES]\n");
    return 2;
  }
  /* A handle leads to glibc's own. */
  dlsym_t own_dlsym = (dlsym_t)dlsym(libc, "dlsym");
  if (!own_dlsym) return 1;
  void *launch = own_dlsym(cuda, "cudaLaunchKernel"), *enter = own_dlsym(cuda, "__cudaRegisterFunction");
  if (!launch || !enter) return 1;
  /* Now, and not before: the tap's own thread is there already, and stays where it is. */
  keep_to_one_processor();
  double ns = ns_per_tick();
  compare("a kernel of no interest:", launches, unrelated, launch, (void *)cudaLaunchKernel, pairs, ns);
  compare("a communication kernel:", launches, ours, launch, (void *)cudaLaunchKernel, pairs, ns);
  compare("a kernel registered:", registrations, unrelated, enter, (void *)__cudaRegisterFunction, pairs, ns);
  return 0;
}
