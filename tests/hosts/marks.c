/* An engine that marks its steps by nccltap.h, and runs without the tap as well.
 *
 * usage: marks weak | dlsym | threads | killed | many N | placed RANK */
#include "host.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <time.h>

#include "nccltap.h"

static nccltap_step_begin_function begin;
static nccltap_step_describe_function describe;
static nccltap_step_end_function end;

/* The two ways that the header names. */
static void find(bool by_dlsym) {
  if (by_dlsym) {
    begin = (nccltap_step_begin_function)dlsym(RTLD_DEFAULT, "nccltap_step_begin");
    describe = (nccltap_step_describe_function)dlsym(RTLD_DEFAULT, "nccltap_step_describe");
    end = (nccltap_step_end_function)dlsym(RTLD_DEFAULT, "nccltap_step_end");
  } else {
    begin = nccltap_step_begin;
    describe = nccltap_step_describe;
    end = nccltap_step_end;
  }
  MUST((begin != NULL) == (describe != NULL) && (begin != NULL) == (end != NULL));
}

static nccltap_step step(uint32_t prefills, uint32_t prompt, uint32_t decodes, uint32_t flags) {
  return (nccltap_step){.size = sizeof(nccltap_step),
                        .flags = flags,
                        .prefill_requests = prefills,
                        .decode_requests = decodes,
                        .prefill_tokens = prompt,
                        .decode_tokens = 2 * decodes,
                        .speculative_tokens = decodes};
}

/* A step of one AllReduce for each element it is given, marked. */
static void run(ncclComm_t comm, nccltap_step step, size_t elements) {
  if (begin) begin(&step);
  all_reduce(comm, elements);
  if (end) end();
}

static void steps(ncclComm_t comm) {
  run(comm, step(1, 2048, 0, NCCLTAP_PROFILE), 1);
  run(comm, step(1, 128, 0, 0), 2);
  run(comm, step(0, 0, 3, 0), 3);
  run(comm, step(1, 30, 5, 0), 40);
  run(comm, step(1, 30, 5, NCCLTAP_CONTINUED), 40);
  all_reduce(comm, 5);
  run(comm, step(0, 0, 1, NCCLTAP_DUMMY), 6);
  /* What the step is shows late: the first call is made before it is known. */
  if (begin) begin(NULL);
  all_reduce(comm, 3);
  nccltap_step late = step(0, 0, 3, 0);
  if (describe) describe(&late);
  all_reduce(comm, 3);
  if (end) end();
  /* Nobody ever says what this one is. */
  if (begin) begin(NULL);
  all_reduce(comm, 7);
  if (end) end();
}

static void *reduce_elsewhere(void *comm) {
  all_reduce(comm, 8);
  return NULL;
}

/* A pipeline of two stages, says the engine; what runs on it would be tensor parallel. */
static void placed(ncclComm_t comm, uint32_t stage) {
  nccltap_coordinates at = {.size = sizeof at, .tensor_size = 1, .pipeline_rank = stage, .pipeline_size = 2, .data_size = 1, .expert_size = 1};
  if (nccltap_place) nccltap_place(&at);
  all_reduce(comm, 4096);
}

static double microseconds_per_step(long times) {
  struct timespec before, after;
  nccltap_step decode = step(0, 0, 3, 0);
  clock_gettime(CLOCK_MONOTONIC, &before);
  for (long i = 0; i < times; i++) {
    begin(&decode);
    end();
  }
  clock_gettime(CLOCK_MONOTONIC, &after);
  double ns = (after.tv_sec - before.tv_sec) * 1e9 + (after.tv_nsec - before.tv_nsec);
  return ns / times / 1e3;
}

int main(int argc, char **argv) {
  MUST(argc > 1);
  const char *what = argv[1];
  find(strcmp(what, "dlsym") == 0);
  /* Before the first communicator a mark says nothing to nobody. */
  nccltap_step early = step(1, 1, 0, 0);
  if (begin) begin(&early);
  if (end) end();
  int rank = strcmp(what, "placed") == 0 ? (int)argument(argc, argv, 2) : 0;
  ncclComm_t comm = communicator('m', 2, rank);
  if (strcmp(what, "threads") == 0) {
    /* The calls of a step may be made by another thread than its marks. */
    pthread_t thread;
    nccltap_step prefill = step(1, 128, 0, 0);
    if (begin) begin(&prefill);
    MUST(pthread_create(&thread, NULL, reduce_elsewhere, comm) == 0);
    MUST(pthread_join(thread, NULL) == 0);
    if (end) end();
  } else if (strcmp(what, "many") == 0) {
    long times = argument(argc, argv, 2);
    MUST(begin != NULL);
    microseconds_per_step(times);
    printf("%.4f us per step\n", microseconds_per_step(times));
  } else if (strcmp(what, "placed") == 0) {
    placed(comm, (uint32_t)rank);
  } else {
    steps(comm);
  }
  if (strcmp(what, "killed") == 0) {
    say("done");
    raise(SIGKILL);
  }
  MUST(ncclCommDestroy(comm) == ncclSuccess);
  return 0;
}
