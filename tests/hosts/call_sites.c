/* Calls from sixteen hundred places in its code, round and round. */
#include "host.h"

#define CALL MUST(ncclAllReduce(NULL, NULL, 4, ncclInt8, ncclSum, comm, NULL) == ncclSuccess);
#define TEN(x) x x x x x x x x x x
#define HUNDRED_CALLS(name) \
  static __attribute__((noinline)) void name(ncclComm_t comm) { TEN(TEN(CALL)) }

HUNDRED_CALLS(a) HUNDRED_CALLS(b) HUNDRED_CALLS(c) HUNDRED_CALLS(d)
HUNDRED_CALLS(e) HUNDRED_CALLS(f) HUNDRED_CALLS(g) HUNDRED_CALLS(h)
HUNDRED_CALLS(i) HUNDRED_CALLS(j) HUNDRED_CALLS(k) HUNDRED_CALLS(l)
HUNDRED_CALLS(m) HUNDRED_CALLS(n) HUNDRED_CALLS(o) HUNDRED_CALLS(p)

int main(void) {
  static void (*const places[])(ncclComm_t) = {a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p};
  ncclComm_t comm = communicator('p', 2, 0);
  for (int turn = 0; turn < 3; turn++) {
    for (size_t place = 0; place < sizeof places / sizeof *places; place++) places[place](comm);
  }
  return 0;
}
