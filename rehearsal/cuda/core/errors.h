/* Error numbers. Since CUDA 10.1 those of the runtime and those of the driver agree. */
#ifndef ERRORS_H_
#define ERRORS_H_

/* X(number, name, name in the runtime, name in the driver, text) */
#define FOR_EACH_ERROR(X)                                                                                     \
  X(0, SUCCESS, "cudaSuccess", "CUDA_SUCCESS", "no error")                                                    \
  X(1, INVALID_VALUE, "cudaErrorInvalidValue", "CUDA_ERROR_INVALID_VALUE", "invalid argument")                \
  X(2, OUT_OF_MEMORY, "cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY", "out of memory")               \
  X(3, NOT_INITIALIZED, "cudaErrorInitializationError", "CUDA_ERROR_NOT_INITIALIZED", "initialization error") \
  X(52, MISSING_CONFIGURATION, "cudaErrorMissingConfiguration", "CUDA_ERROR_UNKNOWN",                         \
    "__global__ function call is not configured")                                                             \
  X(100, NO_DEVICE, "cudaErrorNoDevice", "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected")        \
  X(101, INVALID_DEVICE, "cudaErrorInvalidDevice", "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal")     \
  X(201, INVALID_CONTEXT, "cudaErrorDeviceUninitialized", "CUDA_ERROR_INVALID_CONTEXT",                       \
    "invalid device context")                                                                                 \
  X(205, MAP_FAILED, "cudaErrorMapBufferObjectFailed", "CUDA_ERROR_MAP_FAILED",                               \
    "mapping of buffer object failed")                                                                        \
  X(400, INVALID_HANDLE, "cudaErrorInvalidResourceHandle", "CUDA_ERROR_INVALID_HANDLE",                       \
    "invalid resource handle")                                                                                \
  X(401, ILLEGAL_STATE, "cudaErrorIllegalState", "CUDA_ERROR_ILLEGAL_STATE",                                  \
    "the operation cannot be performed in the present state")                                                 \
  X(500, NOT_FOUND, "cudaErrorSymbolNotFound", "CUDA_ERROR_NOT_FOUND", "named symbol not found")              \
  X(600, NOT_READY, "cudaErrorNotReady", "CUDA_ERROR_NOT_READY", "device not ready")                          \
  X(704, PEER_ENABLED, "cudaErrorPeerAccessAlreadyEnabled", "CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED",         \
    "peer access is already enabled")                                                                         \
  X(705, PEER_NOT_ENABLED, "cudaErrorPeerAccessNotEnabled", "CUDA_ERROR_PEER_ACCESS_NOT_ENABLED",             \
    "peer access has not been enabled")                                                                       \
  X(712, ALREADY_REGISTERED, "cudaErrorHostMemoryAlreadyRegistered",                                          \
    "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED", "part or all of the requested memory range is already mapped") \
  X(713, NOT_REGISTERED, "cudaErrorHostMemoryNotRegistered", "CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED",         \
    "pointer does not correspond to a registered memory region")                                              \
  X(801, NOT_SUPPORTED, "cudaErrorNotSupported", "CUDA_ERROR_NOT_SUPPORTED", "operation not supported")       \
  X(900, CAPTURE_UNSUPPORTED, "cudaErrorStreamCaptureUnsupported",                                            \
    "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing")              \
  X(901, CAPTURE_INVALIDATED, "cudaErrorStreamCaptureInvalidated",                                            \
    "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture")       \
  X(902, CAPTURE_MERGE, "cudaErrorStreamCaptureMerge", "CUDA_ERROR_STREAM_CAPTURE_MERGE",                     \
    "operation would result in a merge of separate capture sequences")                                        \
  X(903, CAPTURE_UNMATCHED, "cudaErrorStreamCaptureUnmatched", "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED",         \
    "capture was not ended in the same stream as it began")                                                   \
  X(904, CAPTURE_UNJOINED, "cudaErrorStreamCaptureUnjoined", "CUDA_ERROR_STREAM_CAPTURE_UNJOINED",            \
    "capturing stream has unjoined work")                                                                     \
  X(907, CAPTURED_EVENT, "cudaErrorCapturedEvent", "CUDA_ERROR_CAPTURED_EVENT",                               \
    "operation not permitted on an event last recorded in a capturing stream")                                \
  X(908, CAPTURE_WRONG_THREAD, "cudaErrorStreamCaptureWrongThread",                                           \
    "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD",                                                                 \
    "attempt to terminate a thread-local capture sequence from another thread")                               \
  X(910, UPDATE_FAILED, "cudaErrorGraphExecUpdateFailure", "CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE",            \
    "the graph update was not performed because it included changes which violated constraints")

#define ERROR_NUMBER(number, name, runtime, driver, text) SIM_##name = number,
enum sim_error { FOR_EACH_ERROR(ERROR_NUMBER) };

#endif
