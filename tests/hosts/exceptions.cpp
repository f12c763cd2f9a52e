// Throws and catches across functions that call NCCL; the program's own exceptions must go on working.
#include <stdexcept>

#include "host.h"

static void call_and_throw(ncclComm_t comm, int turn) {
  all_reduce(comm, 3);
  if (turn % 2) throw std::runtime_error("odd");
}

int main() {
  ncclComm_t comm = communicator('+', 2, 0);
  int caught = 0;
  for (int turn = 0; turn < 100; turn++) {
    try {
      call_and_throw(comm, turn);
    } catch (const std::runtime_error &) {
      caught++;
      all_reduce(comm, 4);
    }
  }
  MUST(caught == 50);
  return 0;
}
