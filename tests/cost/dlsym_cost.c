/* What the tap adds to look-ups by dlsym of a name it has nothing to do with.
 *
 *   dlsym_cost BLOCKS
 *
 * In one process, by one loop, through one pointer that is now the `dlsym` that everybody gets and now
 * glibc's own, taken from libc's handle: blocks of 1000 look-ups in pairs, the order of each pair by a
 * coin. Without the tap both are the same function, and what is printed then is what the method
 * itself cannot tell from nothing. */
#include "spread.h"
#include "ticks.h"
#include <dlfcn.h>
#include <stdio.h>

typedef void *(*dlsym_t)(void *, const char *);

enum { CALLS = 1000 };

__attribute__((noinline, aligned(64))) static double block(dlsym_t look_up, void *library, const char *name) {
  uint64_t start = __rdtsc();
  for (int i = 0; i < CALLS; i++)
    if (!look_up(library, name)) exit(1);
  return (double)(__rdtsc() - start) / CALLS;
}

static void compare(const char *what, dlsym_t direct, dlsym_t usual, void *library, const char *name, int blocks,
                    double ns) {
  double *a = malloc(blocks * sizeof *a), *b = malloc(blocks * sizeof *b), *d = malloc(blocks * sizeof *d);
  if (!a || !b || !d) exit(1);
  for (int i = -100; i < blocks; i++) {
    double first, second, swap;
    int turned = rand() & 1;
    first = block(turned ? usual : direct, library, name);
    second = block(turned ? direct : usual, library, name);
    if (turned) swap = first, first = second, second = swap;
    if (i < 0) continue;
    a[i] = first * ns, b[i] = second * ns, d[i] = (second - first) * ns;
  }
  struct spread plain = spread_of(a, blocks), with = spread_of(b, blocks), added = spread_of(d, blocks);
  printf("%-22s glibc's %6.2f ns, the process's %6.2f ns, ratio %.3f; added %+.2f ns (95 %%: %+.2f to %+.2f)\n", what,
         plain.median, with.median, with.median / plain.median, added.median, added.low, added.high);
  free(a), free(b), free(d);
}

int main(int argc, char **argv) {
  int blocks = argc > 1 ? atoi(argv[1]) : 0;
  void *libc = dlopen("libc.so.6", RTLD_NOW);
  if (blocks < 100 || !libc) {
    fprintf(stderr, "usage: dlsym_cost BLOCKS(>= 100)\n");
    return 2;
  }
  keep_to_one_processor();
  double ns = ns_per_tick();
  dlsym_t usual = dlsym, direct = (dlsym_t)dlsym(libc, "dlsym");
  if (!direct) return 1;
  compare("getpid", direct, usual, libc, "getpid", blocks, ns);
  compare("nanosleep (n...)", direct, usual, libc, "nanosleep", blocks, ns);
  compare("calloc (c...)", direct, usual, libc, "calloc", blocks, ns);
  return 0;
}
