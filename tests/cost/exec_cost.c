/* What the tap adds to the start of a process that never calls NCCL: posix_spawn and wait of
 * /bin/true, with and without LD_PRELOAD, in turns.
 *
 *   exec_cost LIBRARY RUNS */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

static double run(char *const environment[]) {
  char *arguments[] = {"/bin/true", NULL};
  struct timespec a, b;
  pid_t pid;
  int status;
  clock_gettime(CLOCK_MONOTONIC, &a);
  if (posix_spawn(&pid, "/bin/true", NULL, NULL, arguments, environment)) exit(1);
  waitpid(pid, &status, 0);
  clock_gettime(CLOCK_MONOTONIC, &b);
  if (status) exit(1);
  return (b.tv_sec - a.tv_sec) * 1e6 + (b.tv_nsec - a.tv_nsec) / 1e3;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

int main(int argc, char **argv) {
  int runs = argc > 2 ? atoi(argv[2]) : 0;
  if (runs < 10) {
    fprintf(stderr, "usage: exec_cost LIBRARY RUNS(>= 10)\n");
    return 2;
  }
  char preload[4096];
  snprintf(preload, sizeof preload, "LD_PRELOAD=%s", argv[1]);
  char *plain[] = {NULL}, *tapped[] = {preload, NULL};
  double *without = malloc(runs * sizeof *without), *with = malloc(runs * sizeof *with);
  if (!without || !with) return 1;
  for (int i = 0; i < runs; i++) {
    without[i] = run(plain);
    with[i] = run(tapped);
  }
  qsort(without, runs, sizeof *without, ascending);
  qsort(with, runs, sizeof *with, ascending);
  printf("exec of /bin/true, %d runs in turns, us: plain p50 %.0f, tapped p50 %.0f, added p50 %.0f (p10 %.0f, p90 %.0f)\n",
         runs, without[runs / 2], with[runs / 2], with[runs / 2] - without[runs / 2],
         with[runs / 10] - without[runs / 10], with[runs * 9 / 10] - without[runs * 9 / 10]);
  return 0;
}
