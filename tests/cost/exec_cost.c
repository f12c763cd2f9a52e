/* What preloaded libraries add to the start of a process that has nothing to do with them: posix_spawn and
 * wait of /bin/true, without and with each LIBRARY, round after round on one processor, each round in
 * another order.
 *
 *   exec_cost ROUNDS LIBRARY...
 *
 * A line per library. "added": the median over the rounds of its time less that of the plain run of the
 * same round, and where that median lies with 95 % confidence; page faults beside it (minor, a run). */
#include "spread.h"
#include <spawn.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

enum { MOST = 8, WARM_UP = 20 };

static double run(char *const environment[], double *faults) {
  char *arguments[] = {"/bin/true", NULL};
  struct timespec a, b;
  struct rusage used;
  pid_t pid;
  int status;
  clock_gettime(CLOCK_MONOTONIC, &a);
  if (posix_spawn(&pid, "/bin/true", NULL, NULL, arguments, environment)) exit(1);
  wait4(pid, &status, 0, &used);
  clock_gettime(CLOCK_MONOTONIC, &b);
  if (status) exit(1);
  *faults += used.ru_minflt;
  return (b.tv_sec - a.tv_sec) * 1e6 + (b.tv_nsec - a.tv_nsec) / 1e3;
}

int main(int argc, char **argv) {
  int rounds = argc > 1 ? atoi(argv[1]) : 0, ways = argc - 1;
  if (rounds < 100 || ways < 2 || ways > MOST) {
    fprintf(stderr, "usage: exec_cost ROUNDS(>= 100) LIBRARY...(1..%d)\n", MOST - 1);
    return 2;
  }
  static char preload[MOST][4096];
  char *environment[MOST][2] = {{NULL}};
  double *times[MOST], faults[MOST] = {0}, ignored = 0;
  for (int way = 0; way < ways; way++) {
    times[way] = malloc(rounds * sizeof *times[way]);
    if (!times[way]) return 1;
    snprintf(preload[way], sizeof preload[way], "LD_PRELOAD=%s", way ? argv[way + 1] : "");
    if (way) environment[way][0] = preload[way];
  }
  keep_to_one_processor();
  for (int round = -WARM_UP; round < rounds; round++)
    for (int turn = 0; turn < ways; turn++) {
      int way = (round + WARM_UP + turn) % ways;
      double time = run(environment[way], round < 0 ? &ignored : &faults[way]);
      if (round >= 0) times[way][round] = time;
    }
  for (int way = 1; way < ways; way++) {
    for (int round = 0; round < rounds; round++) times[way][round] -= times[0][round];
    struct spread added = spread_of(times[way], rounds);
    printf("%-40s added %6.1f us (95 %%: %.1f to %.1f), %.1f page faults\n", argv[way + 1], added.median, added.low,
           added.high, (faults[way] - faults[0]) / rounds);
  }
  struct spread plain = spread_of(times[0], rounds);
  printf("%-40s takes %6.1f us, %.1f page faults; %d rounds\n", "/bin/true alone", plain.median, faults[0] / rounds, rounds);
  return 0;
}
