/* The part of AMD's HIP (hip_runtime_api.h, 7.1) that its simulation has: names, numbers and prototypes. */
#ifndef SIMULATED_HIP_H_
#define SIMULATED_HIP_H_

#include <stddef.h>

typedef int hipError_t;
enum { hipSuccess = 0, hipErrorInvalidDevice = 101 };
enum { hipStreamNonBlocking = 1, hipStreamCaptureModeThreadLocal = 1 };
typedef struct { unsigned x, y, z; } hip_dim3;
typedef void *hipStream_t, *hipGraph_t, *hipGraphNode_t, *hipGraphExec_t, *hipFunction_t, *hipModule_t;

hipError_t hipRuntimeGetVersion(int *version);
hipError_t hipPeekAtLastError(void);
hipError_t hipGetLastError(void);
hipError_t hipSetDevice(int device);
hipError_t hipMalloc(void **pointer, size_t bytes);
hipError_t hipStreamCreateWithFlags(hipStream_t *stream, unsigned flags);
hipError_t hipStreamBeginCapture(hipStream_t stream, int mode);
hipError_t hipStreamBeginCapture_spt(hipStream_t stream, int mode);
hipError_t hipStreamEndCapture(hipStream_t stream, hipGraph_t *graph);
hipError_t hipStreamEndCapture_spt(hipStream_t stream, hipGraph_t *graph);
hipError_t hipStreamGetCaptureInfo(hipStream_t stream, int *status, unsigned long long *id);
hipError_t hipGraphCreate(hipGraph_t *graph, unsigned flags);
hipError_t hipGraphClone(hipGraph_t *clone, hipGraph_t graph);
hipError_t hipGraphDestroy(hipGraph_t graph);
hipError_t hipGraphAddChildGraphNode(hipGraphNode_t *node, hipGraph_t graph, const hipGraphNode_t *dependencies,
                                     size_t count, hipGraph_t child);
hipError_t hipGraphInstantiate(hipGraphExec_t *executable, hipGraph_t graph, hipGraphNode_t *error_node, char *log,
                               size_t log_size);
hipError_t hipGraphInstantiateWithFlags(hipGraphExec_t *executable, hipGraph_t graph, unsigned long long flags);
hipError_t hipGraphExecUpdate(hipGraphExec_t executable, hipGraph_t graph, hipGraphNode_t *node, int *result);
hipError_t hipGraphExecDestroy(hipGraphExec_t executable);
hipError_t hipGraphLaunch(hipGraphExec_t executable, hipStream_t stream);
hipError_t hipGraphLaunch_spt(hipGraphExec_t executable, hipStream_t stream);
void __hipRegisterFunction(void **modules, const void *function, char *device_function, const char *name, unsigned limit,
                           void *thread, void *block, void *block_dim, void *grid_dim, int *warp_size);
hipError_t hipLaunchKernel(const void *function, hip_dim3 grid, hip_dim3 block, void **arguments, size_t shared,
                           hipStream_t stream);
hipError_t hipModuleGetFunction(hipFunction_t *function, hipModule_t module, const char *name);
hipError_t hipModuleLaunchKernel(hipFunction_t function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                                 unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared,
                                 hipStream_t stream, void **arguments, void **extra);
hipError_t hipMemcpyPeer(void *to, int to_device, const void *from, int from_device, size_t bytes);
hipError_t hipMemcpyPeerAsync(void *to, int to_device, const void *from, int from_device, size_t bytes,
                              hipStream_t stream);

#endif
