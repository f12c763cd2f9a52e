#ifndef STEERING_H_
#define STEERING_H_

#include "driver.h"

/* Does for a kernel what an engine relies on to find its way; see steering.c. */
void steer(const struct sim_kernel *kernel);

#endif
