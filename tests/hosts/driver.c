/* driver DOOR: captures and launches graphs with functions of CUDA's driver, which it gets in one of several ways. */
#include "driver.h"

int cudaGetDriverEntryPoint(const char *name, void **function, unsigned long long flags, int *result);
int cudaGetDriverEntryPointByVersion(const char *name, void **function, unsigned version, unsigned long long flags,
                                     int *result);

static struct driver driver;
static ncclComm_t comm;
static cudaStream_t stream;

static struct driver linked(void) {
#define LINKED(name, base, since, arguments) .name = name,
  return (struct driver){DRIVER_FUNCTIONS(LINKED)};
}

/* The newest forms that the runtime knows; of the others, by version. */
static struct driver by_runtime(void) {
  struct driver by_version, newest;
  int result;
#define BY_VERSION(name, base, since, arguments) \
  MUST(cudaGetDriverEntryPointByVersion(base, (void **)&by_version.name, since, 0, &result) == 0 && result == 0);
  DRIVER_FUNCTIONS(BY_VERSION)
  newest = by_version;
  MUST(cudaGetDriverEntryPoint("cuGraphLaunch", (void **)&newest.cuGraphLaunch, 0, &result) == 0 && result == 0);
  MUST(cudaGetDriverEntryPoint("cuGraphExecUpdate", (void **)&newest.cuGraphExecUpdate_v2, 0, &result) == 0);
  return newest;
}

static void *captured_here(int operations, size_t count) {
  void *graph;
  MUST(driver.cuStreamBeginCapture_v2(stream, cudaStreamCaptureModeThreadLocal) == 0);
  for (int i = 0; i < operations; i++) all_reduce_on(comm, count, stream);
  MUST(driver.cuStreamEndCapture(stream, &graph) == 0);
  return graph;
}

static void launch_here(void *executable, int times) {
  for (int i = 0; i < times; i++) MUST(driver.cuGraphLaunch(executable, stream) == 0);
}

struct node_params {
  int type, reserved[3];
  void *graph;
  long long room[29];
};

/* 2 operations of 8 elements, 3 times; then 2 of 16, 5 times; then 2 of 32, 7 times. */
static void play_updates(void) {
  void *executable, *graph = captured_here(2, 8), *node;
  struct { int result; void *nodes[2]; } info;
  int result;
  MUST(driver.cuGraphInstantiateWithFlags(&executable, graph, 0) == 0);
  MUST(driver.cuGraphDestroy(graph) == 0);
  launch_here(executable, 3);
  MUST(driver.cuGraphExecUpdate_v2(executable, captured_here(2, 16), &info) == 0);
  launch_here(executable, 5);
  MUST(driver.cuGraphExecUpdate(executable, captured_here(2, 32), &node, &result) == 0);
  launch_here(executable, 7);
  MUST(driver.cuGraphExecDestroy(executable) == 0);
}

/* 1 of 3 elements and 4 times 2 of 64, in a clone, twice; then with 1 of 64 less and 1 of 128 more, once. */
static void play_children(void) {
  void *inner = captured_here(2, 64), *outer = captured_here(1, 3), *node[5], *clone, *executable, *set;
  struct node_params params = {.type = 4, .graph = inner};
  struct { uint64_t flags; void *stream, *node; int result; } how = {0};
  MUST(driver.cuGraphAddChildGraphNode(&node[0], outer, NULL, 0, inner) == 0);
  MUST(driver.cuGraphAddChildGraphNode(&node[1], outer, NULL, 0, inner) == 0);
  MUST(driver.cuGraphAddNode(&node[2], outer, NULL, 0, &params) == 0);
  MUST(driver.cuGraphAddNode_v2(&node[3], outer, NULL, NULL, 0, &params) == 0);
  MUST(driver.cuGraphAddNode_v2(&node[4], outer, NULL, NULL, 0, &params) == 0);
  MUST(driver.cuGraphDestroyNode(node[4]) == 0);
  MUST(driver.cuGraphClone(&clone, outer) == 0);
  MUST(driver.cuGraphInstantiateWithParams(&executable, clone, &how) == 0);
  launch_here(executable, 2);
  MUST(driver.cuGraphInstantiate_v2(&set, outer, NULL, NULL, 0) == 0);
  MUST(driver.cuGraphExecChildGraphNodeSetParams(set, node[1], captured_here(2, 128)) == 0);
  launch_here(set, 1);
}

/* 1 of 5 elements and 1 of 6, 4 times: begun by the driver, made executable by the runtime and launched by both. */
static void play_with_runtime(void) {
  void *graph = captured_here(1, 5), *same;
  MUST(driver.cuStreamBeginCaptureToGraph(stream, graph, NULL, NULL, 0, 0) == 0);
  all_reduce_on(comm, 6, stream);
  MUST(cudaStreamEndCapture(stream, &same) == cudaSuccess && same == graph);
  cudaGraphExec_t executable = instantiated(graph);
  launch_here(executable, 3);
  launch(executable, stream, 1);
}

int cuStreamBeginCapture_v2_ptsz(void *stream, int mode);
int cuStreamEndCapture_ptsz(void *stream, void **graph);
int cuGraphLaunch_ptsz(void *executable, void *stream);

/* 1 of 9 elements, 2 times, on the thread's own stream, which the program calls 0. */
static void play_per_thread(int by_name) {
  get_proc_address *get = (get_proc_address *)dlsym(driver_library(), "cuGetProcAddress");
  int (*begin)(void *, int) = cuStreamBeginCapture_v2_ptsz, (*end)(void *, void **) = cuStreamEndCapture_ptsz;
  int (*launch)(void *, void *) = cuGraphLaunch_ptsz;
  if (by_name) {
    MUST(get("cuStreamBeginCapture", (void **)&begin, 12000, 2) == 0);
    MUST(get("cuStreamEndCapture", (void **)&end, 12000, 2) == 0);
    MUST(get("cuGraphLaunch", (void **)&launch, 12000, 2) == 0);
  }
  void *graph, *executable;
  MUST(begin(NULL, cudaStreamCaptureModeRelaxed) == 0);
  all_reduce_on(comm, 9, cudaStreamPerThread);
  MUST(end(NULL, &graph) == 0);
  MUST(driver.cuGraphInstantiateWithFlags(&executable, graph, 0) == 0);
  MUST(launch(executable, NULL) == 0 && launch(executable, NULL) == 0);
}

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    struct driver (*open)(void);
  } doors[] = {
      {"linked", linked},
      {"dlsym", driver_by_dlsym},
      {"by_name", driver_by_name},
      {"by_old_name", driver_by_old_name},
      {"by_runtime", by_runtime},
  };
  MUST(argc == 2);
  for (size_t i = 0; i < sizeof doors / sizeof *doors; i++)
    if (strcmp(doors[i].name, argv[1]) == 0) driver = doors[i].open();
  MUST(driver.cuGraphLaunch);
  comm = communicator('d', 4, 1);
  stream = new_stream();
  play_updates();
  play_children();
  play_with_runtime();
  play_per_thread(strcmp(argv[1], "linked") != 0);
  return 0;
}
