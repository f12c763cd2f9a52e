/* A rank of an engine that marks its steps, says what it gave their all-reduces to, and serves in two rounds; before each later one it waits for the test.
 *
 * usage: served RANK RANKS [STAY]
 * A rank that stays has no second round: the others go on without it. */
#include "host.h"

#include "nccltap.h"

enum { HIDDEN = 4096, LAYERS = 5, PROMPT = 128, REQUESTS = 2, DECODES = 250 };

static void step(ncclComm_t comm, nccltap_step step, size_t tokens) {
  if (nccltap_step_begin) nccltap_step_begin(&step);
  MUST(ncclBroadcast(NULL, NULL, 3, ncclInt64, 0, comm, NULL) == ncclSuccess);
  for (int layer = 0; layer < LAYERS; layer++) all_reduce(comm, tokens * HIDDEN);
  nccltap_choice choice = {.size = sizeof choice, .backend = NCCLTAP_PYNCCL, .message_bytes = tokens * HIDDEN * 2, .calls = LAYERS};
  if (nccltap_chosen) nccltap_chosen(&choice, 1);
  if (nccltap_step_end) nccltap_step_end();
}

int main(int argc, char **argv) {
  long rank = argument(argc, argv, 1), ranks = argument(argc, argv, 2);
  ncclComm_t comm = communicator('s', (int)ranks, (int)rank);
  nccltap_step prefill = {.size = sizeof prefill, .prefill_requests = REQUESTS, .prefill_tokens = REQUESTS * PROMPT};
  nccltap_step decode = {.size = sizeof decode, .decode_requests = REQUESTS, .decode_tokens = REQUESTS};
  step(comm, prefill, REQUESTS * PROMPT);
  step(comm, decode, REQUESTS);
  say("first");
  wait_for_test();
  if (argc <= 3) {
    step(comm, prefill, REQUESTS * PROMPT);
    for (int i = 0; i < DECODES; i++) step(comm, decode, REQUESTS);
  }
  say("second");
  wait_for_test();
  MUST(ncclCommDestroy(comm) == ncclSuccess);
  return 0;
}
