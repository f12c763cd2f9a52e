/* Kernels compute nothing, but a few of their results steer the engine on the host. These are computed. */
#include <string.h>

#include "steering.h"

/* vLLM from 0.32 on, its second model runner: (int *num_sampled, int *num_rejected, ...), one thread block per request.
 * Zero would mean that no token was ever produced. Here: one for each request, also, wrongly, for one that is only
 * partly prefilled. */
static void num_sampled_and_rejected(const struct sim_kernel *kernel) {
  int *sampled = *(int **)kernel->arguments[0], *rejected = *(int **)kernel->arguments[1];
  for (unsigned i = 0; i < kernel->grid[0]; i++) {
    sampled[i] = 1;
    rejected[i] = 0;
  }
  sim_real_read_once(sampled, kernel->grid[0] * sizeof *sampled);
}

static const struct {
  const char *name;
  void (*compute)(const struct sim_kernel *kernel);
} steering[] = {
    {"_get_num_sampled_and_rejected_kernel", num_sampled_and_rejected},
};

void steer(const struct sim_kernel *kernel) {
  for (size_t i = 0; kernel->arguments && i < sizeof steering / sizeof *steering; i++) {
    if (strcmp(kernel->name, steering[i].name) == 0) steering[i].compute(kernel);
  }
}
