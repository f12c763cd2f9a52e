/* What the tap adds to a launch of a CUDA graph, by the size of the graph.
 *
 *   launch_cost PAIRS [OPERATIONS]
 *
 * In one process, by one loop, through one pointer that is now the `cudaGraphLaunch` that everybody gets and now the
 * runtime's own, looked up by glibc's own dlsym: blocks of 16 launches of one executable in pairs, the order of each
 * pair by a coin. What a simulated launch takes, and how that wanders, is the same in both. Without the tap both are
 * the same function, and what is printed then is what the method itself cannot tell from nothing.
 *
 * With OPERATIONS: launches one graph of so many, PAIRS times, and says nothing, for an instruction count. */
#include "spread.h"
#include "ticks.h"
#include "cuda_runtime.h"
#include "nccl.h"
#include <dlfcn.h>
#include <stdio.h>

enum { LAUNCHES = 16, WARM_UP = 100 };

typedef cudaError_t (*launch_t)(cudaGraphExec_t, cudaStream_t);
typedef void *(*dlsym_t)(void *, const char *);

static ncclComm_t comm;
static cudaStream_t stream;

static cudaGraphExec_t executable_of(int operations) {
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  if (cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal)) exit(1);
  for (int i = 0; i < operations; i++) ncclAllReduce(NULL, NULL, 1 + i, ncclBfloat16, ncclSum, comm, stream);
  if (cudaStreamEndCapture(stream, &graph) || cudaGraphInstantiate(&executable, graph, 0)) exit(1);
  return executable;
}

__attribute__((noinline, aligned(64))) static double block(launch_t launch, cudaGraphExec_t executable) {
  uint64_t start = __rdtsc();
  for (int i = 0; i < LAUNCHES; i++)
    if (launch(executable, stream)) exit(1);
  return (double)(__rdtsc() - start) / LAUNCHES;
}

static void compare(int operations, launch_t direct, launch_t usual, int pairs, double ns) {
  cudaGraphExec_t executable = executable_of(operations);
  double *a = malloc(pairs * sizeof *a), *b = malloc(pairs * sizeof *b), *d = malloc(pairs * sizeof *d);
  if (!a || !b || !d) exit(1);
  for (int i = -WARM_UP; i < pairs; i++) {
    double first, second, swap;
    int turned = rand() & 1;
    first = block(turned ? usual : direct, executable);
    second = block(turned ? direct : usual, executable);
    if (turned) swap = first, first = second, second = swap;
    if (i < 0) continue;
    a[i] = first * ns, b[i] = second * ns, d[i] = (second - first) * ns;
  }
  struct spread plain = spread_of(a, pairs), with = spread_of(b, pairs), added = spread_of(d, pairs);
  printf("%3d operations: the runtime's %7.1f ns, the process's %7.1f ns; added %+6.1f ns (95 %%: %+.1f to %+.1f)\n",
         operations, plain.median, with.median, added.median, added.low, added.high);
  free(a), free(b), free(d);
}

int main(int argc, char **argv) {
  int pairs = argc > 1 ? atoi(argv[1]) : 0;
  ncclUniqueId id;
  ncclGetUniqueId(&id);
  if (ncclCommInitRank(&comm, 2, id, 0) || cudaStreamCreateWithFlags(&stream, 1)) return 1;
  if (argc > 2) {
    cudaGraphExec_t executable = executable_of(atoi(argv[2]));
    for (int i = 0; i < pairs; i++) cudaGraphLaunch(executable, stream);
    return 0;
  }
  void *libc = dlopen("libc.so.6", RTLD_NOW), *cuda = dlopen("libcudart.so.12", RTLD_NOW);
  if (pairs < 100 || !libc || !cuda) {
    fprintf(stderr, "usage: launch_cost PAIRS(>= 100) [OPERATIONS]\n");
    return 2;
  }
  /* A handle leads to glibc's own. */
  dlsym_t own_dlsym = (dlsym_t)dlsym(libc, "dlsym");
  launch_t direct = own_dlsym ? (launch_t)own_dlsym(cuda, "cudaGraphLaunch") : NULL;
  if (!direct) return 1;
  /* Now, and not before: the tap's own thread is there already, and stays where it is. */
  keep_to_one_processor();
  double ns = ns_per_tick();
  static const int sizes[] = {0, 1, 65, 160, 1000};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) compare(sizes[i], direct, cudaGraphLaunch, pairs, ns);
  return 0;
}
