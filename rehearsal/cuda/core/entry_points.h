/* Finds functions of the driver by name. */
#ifndef ENTRY_POINTS_H_
#define ENTRY_POINTS_H_

#include "core.h"

/* The function of libcuda.so.1 of this name, in the newest version that is simulated; NULL where there is none. */
SIM_API void *sim_driver_function(const char *name);

#endif
