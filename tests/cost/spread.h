/* What many paired measurements on a noisy machine say: the median of their differences, and between
 * which values the true median lies with 95 % confidence, whatever their distribution (order
 * statistics of the sign test). */
#ifndef SPREAD_H
#define SPREAD_H
#define _GNU_SOURCE
#include <math.h>
#include <sched.h>
#include <stdlib.h>

struct spread {
  double low, median, high;
};

static int spread_ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

/* Sorts `values`. */
static struct spread spread_of(double *values, int count) {
  qsort(values, count, sizeof *values, spread_ascending);
  int reach = (int)ceil(0.98 * sqrt(count)), middle = count / 2;
  int low = middle - reach < 0 ? 0 : middle - reach;
  int high = middle + reach >= count ? count - 1 : middle + reach;
  return (struct spread){values[low], values[middle], values[high]};
}

/* Keeps this process and its children on the last processor: the first has most of a machine's interrupts. */
static void keep_to_one_processor(void) {
  cpu_set_t all, one;
  CPU_ZERO(&one);
  if (sched_getaffinity(0, sizeof all, &all)) return;
  for (int cpu = CPU_SETSIZE - 1; cpu >= 0; cpu--)
    if (CPU_ISSET(cpu, &all)) {
      CPU_SET(cpu, &one);
      break;
    }
  sched_setaffinity(0, sizeof one, &one);
}

#endif
