/* Capture and graphs. */
#include <string.h>

#include "driver.h"

/* ---- Capture. */

EXPORT CUresult cuStreamBeginCapture(CUstream stream) { return sim_capture_begin(stream, NULL, SIM_CAPTURE_GLOBAL); }

EXPORT CUresult cuStreamBeginCapture_ptsz(CUstream stream) { return cuStreamBeginCapture(PER_THREAD(stream)); }

EXPORT CUresult cuStreamBeginCapture_v2(CUstream stream, int mode) { return sim_capture_begin(stream, NULL, mode); }

EXPORT CUresult cuStreamBeginCapture_v2_ptsz(CUstream stream, int mode) {
  return cuStreamBeginCapture_v2(PER_THREAD(stream), mode);
}

EXPORT CUresult cuStreamBeginCaptureToGraph(CUstream stream, CUgraph graph, const CUgraphNode *dependencies,
                                            const void *edges, size_t dependency_count, int mode) {
  (void)dependencies, (void)edges, (void)dependency_count;
  return sim_capture_begin(stream, graph, mode);
}

EXPORT CUresult cuStreamBeginCaptureToGraph_ptsz(CUstream stream, CUgraph graph, const CUgraphNode *dependencies,
                                                 const void *edges, size_t dependency_count, int mode) {
  return cuStreamBeginCaptureToGraph(PER_THREAD(stream), graph, dependencies, edges, dependency_count, mode);
}

EXPORT CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph) { return sim_capture_end(stream, graph); }

EXPORT CUresult cuStreamEndCapture_ptsz(CUstream stream, CUgraph *graph) {
  return cuStreamEndCapture(PER_THREAD(stream), graph);
}

EXPORT CUresult cuThreadExchangeStreamCaptureMode(int *mode) { return sim_capture_exchange_mode(mode); }

static CUresult capture_info(CUstream stream, int *status, uint64_t *id, CUgraph *graph,
                             const CUgraphNode **dependencies, size_t *dependency_count) {
  struct sim_capture_facts facts;
  int error = sim_capture_facts(stream, &facts);
  if (error != SIM_SUCCESS) return error;
  *status = facts.status;
  if (facts.status != SIM_CAPTURE_ACTIVE) return SIM_SUCCESS;
  if (id) *id = facts.id;
  if (graph) *graph = facts.graph;
  if (dependencies) *dependencies = facts.dependencies;
  if (dependency_count) *dependency_count = facts.dependency_count;
  return SIM_SUCCESS;
}

EXPORT CUresult cuStreamIsCapturing(CUstream stream, int *status) {
  return capture_info(stream, status, NULL, NULL, NULL, NULL);
}

EXPORT CUresult cuStreamGetCaptureInfo(CUstream stream, int *status, uint64_t *id) {
  return capture_info(stream, status, id, NULL, NULL, NULL);
}

EXPORT CUresult cuStreamGetCaptureInfo_v2(CUstream stream, int *status, uint64_t *id, CUgraph *graph,
                                          const CUgraphNode **dependencies, size_t *dependency_count) {
  return capture_info(stream, status, id, graph, dependencies, dependency_count);
}

EXPORT CUresult cuStreamGetCaptureInfo_v3(CUstream stream, int *status, uint64_t *id, CUgraph *graph,
                                          const CUgraphNode **dependencies, const void **edges,
                                          size_t *dependency_count) {
  if (edges) *edges = NULL;
  return capture_info(stream, status, id, graph, dependencies, dependency_count);
}

/* ---- Graphs. */

EXPORT CUresult cuGraphCreate(CUgraph *graph, unsigned flags) {
  (void)flags;
  return sim_graph_create(graph);
}

EXPORT CUresult cuGraphDestroy(CUgraph graph) { return sim_graph_destroy(graph); }

EXPORT CUresult cuGraphClone(CUgraph *clone, CUgraph graph) { return sim_graph_clone(graph, clone); }

EXPORT CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode *nodes, size_t *count) {
  return sim_graph_nodes(graph, nodes, count);
}

EXPORT CUresult cuGraphNodeGetType(CUgraphNode node, int *type) { return sim_node_type(node, type); }

EXPORT CUresult cuGraphNodeFindInClone(CUgraphNode *found, CUgraphNode node, CUgraph clone) {
  return sim_node_in_clone(node, clone, found);
}

EXPORT CUresult cuGraphDestroyNode(CUgraphNode node) { return sim_node_destroy(node); }

EXPORT CUresult cuGraphChildGraphNodeGetGraph(CUgraphNode node, CUgraph *graph) { return sim_node_child(node, graph); }

EXPORT CUresult cuGraphAddChildGraphNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *dependencies,
                                         size_t dependency_count, CUgraph child) {
  (void)dependencies, (void)dependency_count;
  return sim_graph_add_child(graph, child, node);
}

/* CUgraphNodeParams, as far as a node of it is simulated. */
struct node_params {
  int type, reserved[3];
  union {
    CUgraph child;
    long long room[29];
  };
  long long more;
};

EXPORT CUresult cuGraphAddNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *dependencies,
                               size_t dependency_count, struct node_params *params) {
  (void)dependencies, (void)dependency_count;
  switch (params->type) {
    case SIM_NODE_GRAPH: return sim_graph_add_child(graph, params->child, node);
    case SIM_NODE_EMPTY: return sim_graph_add_empty(graph, node);
    default: return SIM_NOT_SUPPORTED;
  }
}

EXPORT CUresult cuGraphAddNode_v2(CUgraphNode *node, CUgraph graph, const CUgraphNode *dependencies, const void *edges,
                                  size_t dependency_count, struct node_params *params) {
  (void)edges;
  return cuGraphAddNode(node, graph, dependencies, dependency_count, params);
}

EXPORT CUresult cuGraphNodeSetParams(CUgraphNode node, struct node_params *params) {
  return params->type == SIM_NODE_GRAPH ? sim_node_set_child(node, params->child) : SIM_NOT_SUPPORTED;
}

/* ---- Executables. */

EXPORT CUresult cuGraphInstantiateWithFlags(CUgraphExec *executable, CUgraph graph, unsigned long long flags) {
  return sim_executable_create(graph, flags, executable);
}

EXPORT CUresult cuGraphInstantiate(CUgraphExec *executable, CUgraph graph, CUgraphNode *node, char *log, size_t size) {
  (void)node, (void)log, (void)size;
  return sim_executable_create(graph, 0, executable);
}

EXPORT CUresult cuGraphInstantiate_v2(CUgraphExec *executable, CUgraph graph, CUgraphNode *node, char *log,
                                      size_t size) {
  return cuGraphInstantiate(executable, graph, node, log, size);
}

/* CUDA_GRAPH_INSTANTIATE_PARAMS. */
struct instantiate_params {
  uint64_t flags;
  CUstream upload_stream;
  CUgraphNode error_node;
  int result;
};

EXPORT CUresult cuGraphInstantiateWithParams(CUgraphExec *executable, CUgraph graph, struct instantiate_params *params) {
  int error = sim_executable_create(graph, params->flags, executable);
  params->error_node = NULL;
  params->result = error != SIM_SUCCESS;
  return error;
}

EXPORT CUresult cuGraphInstantiateWithParams_ptsz(CUgraphExec *executable, CUgraph graph,
                                                  struct instantiate_params *params) {
  return cuGraphInstantiateWithParams(executable, graph, params);
}

EXPORT CUresult cuGraphExecUpdate(CUgraphExec executable, CUgraph graph, CUgraphNode *node, int *result) {
  int error = sim_executable_update(executable, graph);
  if (node) *node = NULL;
  if (result) *result = error != SIM_SUCCESS;
  return error;
}

/* CUgraphExecUpdateResultInfo. */
struct update_info {
  int result;
  CUgraphNode node, from_node;
};

EXPORT CUresult cuGraphExecUpdate_v2(CUgraphExec executable, CUgraph graph, struct update_info *info) {
  int error = sim_executable_update(executable, graph);
  if (info) *info = (struct update_info){.result = error != SIM_SUCCESS};
  return error;
}

EXPORT CUresult cuGraphExecChildGraphNodeSetParams(CUgraphExec executable, CUgraphNode node, CUgraph child) {
  return sim_executable_set_child(executable, node, child);
}

EXPORT CUresult cuGraphExecNodeSetParams(CUgraphExec executable, CUgraphNode node, struct node_params *params) {
  return params->type == SIM_NODE_GRAPH ? sim_executable_set_child(executable, node, params->child)
                                        : SIM_NOT_SUPPORTED;
}

EXPORT CUresult cuGraphUpload(CUgraphExec executable, CUstream stream) {
  return sim_executable_upload(executable, stream);
}

EXPORT CUresult cuGraphLaunch(CUgraphExec executable, CUstream stream) {
  return sim_executable_launch(executable, stream);
}

EXPORT CUresult cuGraphLaunch_ptsz(CUgraphExec executable, CUstream stream) {
  return sim_executable_launch(executable, PER_THREAD(stream));
}

EXPORT CUresult cuGraphExecDestroy(CUgraphExec executable) { return sim_executable_destroy(executable); }

/* ---- By name: each form with the version of CUDA that brought it, the newest of a name last. */

#define FORM(name, since, form) {name, since, 0, (void *)(form)}
#define THREAD_FORM(name, since, form) {name, since, 1, (void *)(form)}

static const struct {
  const char *name;
  int since, per_thread;
  void *function;
} forms[] = {
    FORM("cuStreamBeginCapture", 10000, cuStreamBeginCapture),
    THREAD_FORM("cuStreamBeginCapture", 10000, cuStreamBeginCapture_ptsz),
    FORM("cuStreamBeginCapture", 10010, cuStreamBeginCapture_v2),
    THREAD_FORM("cuStreamBeginCapture", 10010, cuStreamBeginCapture_v2_ptsz),
    FORM("cuStreamBeginCaptureToGraph", 12030, cuStreamBeginCaptureToGraph),
    THREAD_FORM("cuStreamBeginCaptureToGraph", 12030, cuStreamBeginCaptureToGraph_ptsz),
    FORM("cuStreamEndCapture", 10000, cuStreamEndCapture),
    THREAD_FORM("cuStreamEndCapture", 10000, cuStreamEndCapture_ptsz),
    FORM("cuStreamGetCaptureInfo", 10010, cuStreamGetCaptureInfo),
    FORM("cuStreamGetCaptureInfo", 11030, cuStreamGetCaptureInfo_v2),
    FORM("cuStreamGetCaptureInfo", 12030, cuStreamGetCaptureInfo_v3),
    FORM("cuGraphClone", 10000, cuGraphClone),
    FORM("cuGraphNodeFindInClone", 10000, cuGraphNodeFindInClone),
    FORM("cuGraphDestroy", 10000, cuGraphDestroy),
    FORM("cuGraphDestroyNode", 10000, cuGraphDestroyNode),
    FORM("cuGraphChildGraphNodeGetGraph", 10000, cuGraphChildGraphNodeGetGraph),
    FORM("cuGraphAddChildGraphNode", 10000, cuGraphAddChildGraphNode),
    FORM("cuGraphAddNode", 12020, cuGraphAddNode),
    FORM("cuGraphAddNode", 12030, cuGraphAddNode_v2),
    FORM("cuGraphNodeSetParams", 12020, cuGraphNodeSetParams),
    FORM("cuGraphInstantiate", 10000, cuGraphInstantiate),
    FORM("cuGraphInstantiate", 11000, cuGraphInstantiate_v2),
    FORM("cuGraphInstantiateWithFlags", 11040, cuGraphInstantiateWithFlags),
    FORM("cuGraphInstantiateWithParams", 12000, cuGraphInstantiateWithParams),
    THREAD_FORM("cuGraphInstantiateWithParams", 12000, cuGraphInstantiateWithParams_ptsz),
    FORM("cuGraphExecUpdate", 10020, cuGraphExecUpdate),
    FORM("cuGraphExecUpdate", 12000, cuGraphExecUpdate_v2),
    FORM("cuGraphExecChildGraphNodeSetParams", 11010, cuGraphExecChildGraphNodeSetParams),
    FORM("cuGraphExecNodeSetParams", 12020, cuGraphExecNodeSetParams),
    FORM("cuGraphExecDestroy", 10000, cuGraphExecDestroy),
    FORM("cuGraphLaunch", 10000, cuGraphLaunch),
    THREAD_FORM("cuGraphLaunch", 10000, cuGraphLaunch_ptsz),
};

void *graph_function(const char *name, int version, int per_thread) {
  void *found = NULL;
  for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
    if (strcmp(forms[i].name, name) || forms[i].since > version) continue;
    if (per_thread || !forms[i].per_thread) found = forms[i].function;
  }
  return found;
}
