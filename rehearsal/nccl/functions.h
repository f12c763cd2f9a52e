/* Every exported function, once: the numbers and names in the counts file derive from here. */
#ifndef FUNCTIONS_H_
#define FUNCTIONS_H_

#define FOR_EACH_FUNCTION(X)                                                                        \
  X(ncclAllReduce) X(ncclBroadcast) X(ncclBcast) X(ncclReduce) X(ncclAllGather)                     \
  X(ncclReduceScatter) X(ncclAlltoAll) X(ncclGather) X(ncclScatter) X(ncclSend) X(ncclRecv)         \
  X(ncclPutSignal) X(ncclAllReduceConfig) X(ncclBroadcastConfig) X(ncclReduceConfig)                \
  X(ncclAllGatherConfig) X(ncclReduceScatterConfig) X(ncclAlltoAllConfig) X(ncclGatherConfig)       \
  X(ncclScatterConfig)                                                                              \
  X(ncclAllToAll) X(ncclAllToAllv) X(ncclAllReduceWithBias) /* of RCCL */                           \
  X(ncclGroupStart) X(ncclGroupEnd) X(ncclGroupSimulateEnd)                                         \
  X(ncclCommInitRank) X(ncclCommInitRankConfig) X(ncclCommInitRankScalable) X(ncclCommInitAll)      \
  X(ncclCommSplit) X(ncclCommShrink) X(ncclCommGrow) X(ncclCommFinalize) X(ncclCommDestroy)         \
  X(ncclCommAbort) X(ncclCommRevoke) X(ncclCommSuspend) X(ncclCommResume)                           \
  X(ncclGetUniqueId) X(ncclGetVersion)                                                              \
  X(ncclCommGetUniqueId) X(ncclCommCount) X(ncclCommCuDevice) X(ncclCommUserRank)                   \
  X(ncclCommGetAsyncError) X(ncclGetErrorString) X(ncclGetLastError) X(ncclMemAlloc)                \
  X(ncclMemFree) X(ncclCommRegister) X(ncclCommDeregister) X(ncclCommWindowRegister)                \
  X(ncclCommWindowDeregister) X(ncclRedOpCreatePreMulSum) X(ncclRedOpDestroy)

#define FUNCTION_NUMBER(name) NUMBER_OF_##name,
enum function { FOR_EACH_FUNCTION(FUNCTION_NUMBER) FUNCTIONS };

#endif
