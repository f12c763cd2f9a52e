/* The part of oneCCL's C API (oneapi/ccl.h, 2022.2) that its simulation has: names, numbers and prototypes. */
#ifndef SIMULATED_ONECCL_H_
#define SIMULATED_ONECCL_H_

#include <stddef.h>

typedef struct onecclComm *onecclComm_t;
typedef enum { onecclSuccess = 0, onecclInvalidArgument = 4, onecclInProgress = 6 } onecclResult_t;
typedef enum {
  onecclInt8 = 0, onecclInt64 = 4, onecclFloat16 = 6, onecclFloat32 = 7, onecclBfloat16 = 9
} onecclDataType_t;
typedef enum { onecclSum = 0, onecclMax = 2 } onecclRedOp_t;
typedef struct { char data[4096]; } onecclUniqueId;
typedef struct {
  size_t size;
  unsigned magic, version;
  int blocking, cga_cluster_size, min_ctas, max_ctas;
  const char *net_name;
  int split_share, multi_threaded;
  unsigned plugin;
} onecclConfig_t;
#define ONECCL_LEGACY_PLUGIN 0xBAAAAAADu

onecclResult_t onecclGetVersion(int *version);
onecclResult_t onecclGetUniqueId(onecclUniqueId *id);
onecclResult_t onecclCommInitRank(onecclComm_t *comm, size_t nranks, onecclUniqueId id, int rank);
onecclResult_t onecclCommInitRankConfig(onecclComm_t *comm, size_t nranks, onecclUniqueId id, int rank,
                                        const onecclConfig_t *config);
onecclResult_t onecclCommSplit(onecclComm_t comm, int color, int key, onecclComm_t *newcomm, onecclConfig_t *config);
onecclResult_t onecclCommDestroy(onecclComm_t comm);
onecclResult_t onecclCommCount(const onecclComm_t comm, int *count);
onecclResult_t onecclCommUserRank(const onecclComm_t comm, int *rank);
onecclResult_t onecclCommDevice(const onecclComm_t comm, int *device);
onecclResult_t onecclGroupStart(void);
onecclResult_t onecclGroupEnd(void);
onecclResult_t onecclAllReduce(void *send, void *recv, size_t count, onecclDataType_t type, onecclRedOp_t op,
                               onecclComm_t comm, void *queue);
onecclResult_t onecclReduce(const void *send, void *recv, size_t count, onecclDataType_t type, onecclRedOp_t op,
                            int root, onecclComm_t comm, void *queue);
onecclResult_t onecclBroadcast(const void *send, void *recv, size_t count, onecclDataType_t type, int root,
                               onecclComm_t comm, void *queue);
onecclResult_t onecclReduceScatter(const void *send, void *recv, size_t count, onecclDataType_t type, onecclRedOp_t op,
                                   onecclComm_t comm, void *queue);
onecclResult_t onecclScatter(const void *send, void *recv, size_t count, onecclDataType_t type, int root,
                             onecclComm_t comm, void *queue);
onecclResult_t onecclAllGather(const void *send, void *recv, size_t count, onecclDataType_t type, onecclComm_t comm,
                               void *queue);
onecclResult_t onecclAllToAll(const void *send, void *recv, size_t count, onecclDataType_t type, onecclComm_t comm,
                              void *queue);
onecclResult_t onecclAllToAllV(const void *send, const size_t *sends, void *recv, const size_t *recvs,
                               onecclDataType_t type, onecclComm_t comm, void *queue);
onecclResult_t onecclSend(const void *send, size_t count, onecclDataType_t type, int peer, onecclComm_t comm,
                          void *queue);
onecclResult_t onecclRecv(void *recv, size_t count, onecclDataType_t type, int peer, onecclComm_t comm, void *queue);

#endif
