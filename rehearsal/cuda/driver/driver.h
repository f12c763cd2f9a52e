/* What the parts of the simulated libcuda.so.1 share. Types are CUDA's by size: CUresult, CUdevice and all enums are
 * int, every handle is a pointer, CUdeviceptr an integer. */
#ifndef DRIVER_H_
#define DRIVER_H_

#include "../core/core.h"

#define EXPORT __attribute__((visibility("default")))

typedef int CUresult;
typedef int CUdevice;
typedef uintptr_t CUdeviceptr;
typedef void *CUcontext;
typedef void *CUstream;
typedef void *CUevent;
typedef void *CUgraph;
typedef void *CUgraphNode;
typedef void *CUgraphExec;

#define DRIVER_VERSION 12040

/* Names that end in _ptsz or _ptds take the stream 0 for the own stream of the calling thread. */
#define PER_THREAD(stream) ((stream) == SIM_STREAM_DEFAULT ? SIM_STREAM_PER_THREAD : (stream))

/* The function for graphs or capture that is called so, in the form of this version of CUDA; NULL where it is none.
 * `per_thread`: the form that takes the stream 0 for that of the calling thread, where there is one. */
void *graph_function(const char *name, int version, int per_thread);

/* The context of a device: every device has one, its primary. */
CUcontext context_of(int device);
/* -1 for a handle that is none. */
int device_of(CUcontext context);

#endif
