/* Graphs, executables and launches. */
#include <stdio.h>

#include "kernel_names.h"
#include "runtime.h"

EXPORT cudaError_t cudaGraphCreate(cudaGraph_t *graph, unsigned flags) {
  (void)flags;
  return note(sim_graph_create(graph));
}

EXPORT cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return note(sim_graph_destroy(graph)); }

EXPORT cudaError_t cudaGraphClone(cudaGraph_t *clone, cudaGraph_t graph) {
  return note(sim_graph_clone(graph, clone));
}

EXPORT cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count) {
  return note(sim_graph_nodes(graph, nodes, count));
}

EXPORT cudaError_t cudaGraphNodeGetType(cudaGraphNode_t node, enum cudaGraphNodeType *type) {
  int number;
  int error = sim_node_type(node, &number);
  if (error == SIM_SUCCESS) *type = (enum cudaGraphNodeType)number;
  return note(error);
}

EXPORT cudaError_t cudaGraphDestroyNode(cudaGraphNode_t node) { return note(sim_node_destroy(node)); }

EXPORT cudaError_t cudaGraphChildGraphNodeGetGraph(cudaGraphNode_t node, cudaGraph_t *graph) {
  return note(sim_node_child(node, graph));
}

EXPORT cudaError_t cudaGraphAddEmptyNode(cudaGraphNode_t *node, cudaGraph_t graph,
                                         const cudaGraphNode_t *dependencies, size_t dependency_count) {
  (void)dependencies, (void)dependency_count;
  return note(sim_graph_add_empty(graph, node));
}

static cudaError_t add_kernel(cudaGraph_t graph, const struct cudaKernelNodeParamsV2 *parameters,
                              cudaGraphNode_t *node) {
  struct sim_kernel kernel = {.identity = parameters->func, .arguments = parameters->kernelParams};
  kernel.name = kernel_name(parameters->func);
  return note(sim_graph_add_kernel(graph, &kernel, node));
}

EXPORT cudaError_t cudaGraphAddKernelNode(cudaGraphNode_t *node, cudaGraph_t graph,
                                          const cudaGraphNode_t *dependencies, size_t dependency_count,
                                          const struct cudaKernelNodeParams *parameters) {
  (void)dependencies, (void)dependency_count;
  struct cudaKernelNodeParamsV2 same = {.func = parameters->func, .kernelParams = parameters->kernelParams};
  return add_kernel(graph, &same, node);
}

EXPORT cudaError_t cudaGraphAddHostNode(cudaGraphNode_t *node, cudaGraph_t graph,
                                        const cudaGraphNode_t *dependencies, size_t dependency_count,
                                        const struct cudaHostNodeParams *parameters) {
  (void)dependencies, (void)dependency_count;
  return note(sim_graph_add_host(graph, parameters->fn, parameters->userData, node));
}

static cudaError_t add_fill(cudaGraph_t graph, const struct cudaMemsetParamsV2 *parameters,
                            cudaGraphNode_t *node) {
  struct sim_fill fill = {parameters->dst, parameters->value, (int)parameters->elementSize, parameters->pitch,
                          parameters->width, parameters->height};
  return note(sim_graph_add_fill(graph, &fill, node));
}

EXPORT cudaError_t cudaGraphAddMemsetNode(cudaGraphNode_t *node, cudaGraph_t graph,
                                          const cudaGraphNode_t *dependencies, size_t dependency_count,
                                          const struct cudaMemsetParams *parameters) {
  (void)dependencies, (void)dependency_count;
  struct cudaMemsetParamsV2 same = {parameters->dst, parameters->pitch, parameters->value,
                                    parameters->elementSize, parameters->width, parameters->height};
  return add_fill(graph, &same, node);
}

EXPORT cudaError_t cudaGraphAddMemcpyNode1D(cudaGraphNode_t *node, cudaGraph_t graph,
                                            const cudaGraphNode_t *dependencies, size_t dependency_count, void *to,
                                            const void *from, size_t bytes, int kind) {
  (void)dependencies, (void)dependency_count;
  struct sim_copy copy = {.to = to, .from = from, .width = bytes, .height = 1, .kind = kind};
  return note(sim_graph_add_copy(graph, &copy, node));
}

EXPORT cudaError_t cudaGraphAddChildGraphNode(cudaGraphNode_t *node, cudaGraph_t graph,
                                              const cudaGraphNode_t *dependencies, size_t dependency_count,
                                              cudaGraph_t child) {
  (void)dependencies, (void)dependency_count;
  return note(sim_graph_add_child(graph, child, node));
}

static cudaError_t add_conditional(cudaGraph_t graph, struct cudaConditionalNodeParams *parameters,
                                   cudaGraphNode_t *node) {
  return note(sim_graph_add_conditional(graph, parameters->handle, (int)parameters->size,
                                        &parameters->phGraph_out, node));
}

static cudaError_t add_node(cudaGraphNode_t *node, cudaGraph_t graph, struct cudaGraphNodeParams *parameters) {
  switch (parameters->type) {
    case cudaGraphNodeTypeKernel: return add_kernel(graph, &parameters->kernel, node);
    case cudaGraphNodeTypeMemset: return add_fill(graph, &parameters->memset, node);
    case cudaGraphNodeTypeHost:
      return note(sim_graph_add_host(graph, parameters->host.fn, parameters->host.userData, node));
    case cudaGraphNodeTypeGraph: return note(sim_graph_add_child(graph, parameters->graph.graph, node));
    case cudaGraphNodeTypeEmpty: return note(sim_graph_add_empty(graph, node));
    case cudaGraphNodeTypeConditional: return add_conditional(graph, &parameters->conditional, node);
    default: return note(SIM_NOT_SUPPORTED);
  }
}

#if CUDART_VERSION < 13000

EXPORT cudaError_t cudaGraphAddNode(cudaGraphNode_t *node, cudaGraph_t graph, const cudaGraphNode_t *dependencies,
                                    size_t dependency_count, struct cudaGraphNodeParams *parameters) {
  (void)dependencies, (void)dependency_count;
  return add_node(node, graph, parameters);
}

EXPORT cudaError_t cudaGraphAddNode_v2(cudaGraphNode_t *node, cudaGraph_t graph,
                                       const cudaGraphNode_t *dependencies, const cudaGraphEdgeData *edges,
                                       size_t dependency_count, struct cudaGraphNodeParams *parameters) {
  (void)dependencies, (void)edges, (void)dependency_count;
  return add_node(node, graph, parameters);
}

#else

EXPORT cudaError_t cudaGraphAddNode(cudaGraphNode_t *node, cudaGraph_t graph, const cudaGraphNode_t *dependencies,
                                    const cudaGraphEdgeData *edges, size_t dependency_count,
                                    struct cudaGraphNodeParams *parameters) {
  (void)dependencies, (void)edges, (void)dependency_count;
  return add_node(node, graph, parameters);
}

#endif

EXPORT cudaError_t cudaGraphNodeSetParams(cudaGraphNode_t node, struct cudaGraphNodeParams *parameters) {
  if (parameters->type != cudaGraphNodeTypeGraph) return note(SIM_NOT_SUPPORTED);
  return note(sim_node_set_child(node, parameters->graph.graph));
}

EXPORT cudaError_t cudaGraphNodeFindInClone(cudaGraphNode_t *found, cudaGraphNode_t node, cudaGraph_t clone) {
  return note(sim_node_in_clone(node, clone, found));
}

#if CUDART_VERSION >= 13000
EXPORT cudaError_t cudaGraphNodeGetParams(cudaGraphNode_t node, struct cudaGraphNodeParams *parameters) {
  *parameters = (struct cudaGraphNodeParams){.type = cudaGraphNodeTypeGraph};
  return note(sim_node_child(node, &parameters->graph.graph));
}
#endif

EXPORT cudaError_t cudaGraphConditionalHandleCreate(cudaGraphConditionalHandle *handle, cudaGraph_t graph,
                                                    unsigned value, unsigned flags) {
  uint64_t made;
  int error = sim_conditional_create(graph, value, (flags & cudaGraphCondAssignDefault) != 0, &made);
  if (error == SIM_SUCCESS) *handle = made;
  return note(error);
}

EXPORT cudaError_t cudaUserObjectCreate(cudaUserObject_t *object, void *pointer, cudaHostFn_t destroy,
                                        unsigned references, unsigned flags) {
  (void)flags;
  return note(sim_user_object_create(pointer, destroy, references, object));
}

EXPORT cudaError_t cudaUserObjectRetain(cudaUserObject_t object, unsigned count) {
  return note(sim_user_object_retain(object, count));
}

EXPORT cudaError_t cudaUserObjectRelease(cudaUserObject_t object, unsigned count) {
  return note(sim_user_object_release(object, count));
}

EXPORT cudaError_t cudaGraphRetainUserObject(cudaGraph_t graph, cudaUserObject_t object, unsigned count,
                                             unsigned flags) {
  return note(sim_graph_keep(graph, object, count, (flags & cudaGraphUserObjectMove) != 0));
}

EXPORT cudaError_t cudaGraphReleaseUserObject(cudaGraph_t graph, cudaUserObject_t object, unsigned count) {
  return note(sim_graph_let_go(graph, object, count));
}

/* Writes a graph without its edges. */
EXPORT cudaError_t cudaGraphDebugDotPrint(cudaGraph_t graph, const char *path, unsigned flags) {
  (void)flags;
  size_t count;
  int error = sim_graph_nodes(graph, NULL, &count);
  if (error != SIM_SUCCESS) return note(error);
  FILE *file = fopen(path, "w");
  if (file == NULL) return note(SIM_INVALID_VALUE);
  fprintf(file, "digraph simulated { label=\"%zu nodes\" }\n", count);
  fclose(file);
  return cudaSuccess;
}

/* ---- Executables. */

EXPORT cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long flags) {
  return note(sim_executable_create(graph, flags, executable));
}

EXPORT cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *executable, cudaGraph_t graph,
                                                 unsigned long long flags) {
  return note(sim_executable_create(graph, flags, executable));
}

EXPORT cudaError_t cudaGraphInstantiateWithParams(cudaGraphExec_t *executable, cudaGraph_t graph,
                                                  cudaGraphInstantiateParams *parameters) {
  if (parameters == NULL) return note(SIM_INVALID_VALUE);
  int error = sim_executable_create(graph, parameters->flags, executable);
  parameters->errNode_out = NULL;
  parameters->result_out = error != SIM_SUCCESS;
  return note(error);
}

EXPORT cudaError_t cudaGraphInstantiateWithParams_ptsz(cudaGraphExec_t *executable, cudaGraph_t graph,
                                                       cudaGraphInstantiateParams *parameters) {
  return cudaGraphInstantiateWithParams(executable, graph, parameters);
}

enum { UPDATE_SUCCESS = 0, UPDATE_TOPOLOGY_CHANGED = 2 };

EXPORT cudaError_t cudaGraphExecUpdate(cudaGraphExec_t executable, cudaGraph_t graph,
                                       cudaGraphExecUpdateResultInfo *info) {
  int error = sim_executable_update(executable, graph);
  if (info) {
    *info = (cudaGraphExecUpdateResultInfo){error == SIM_SUCCESS ? UPDATE_SUCCESS : UPDATE_TOPOLOGY_CHANGED, NULL,
                                            NULL};
  }
  return note(error);
}

EXPORT cudaError_t cudaGraphUpload(cudaGraphExec_t executable, cudaStream_t stream) {
  return note(sim_executable_upload(executable, stream));
}

EXPORT cudaError_t cudaGraphUpload_ptsz(cudaGraphExec_t executable, cudaStream_t stream) {
  return cudaGraphUpload(executable, PER_THREAD(stream));
}

EXPORT cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  return note(sim_executable_launch(executable, stream));
}

EXPORT cudaError_t cudaGraphLaunch_ptsz(cudaGraphExec_t executable, cudaStream_t stream) {
  return cudaGraphLaunch(executable, PER_THREAD(stream));
}

EXPORT cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  return note(sim_executable_destroy(executable));
}

EXPORT cudaError_t cudaGraphExecChildGraphNodeSetParams(cudaGraphExec_t executable, cudaGraphNode_t node,
                                                        cudaGraph_t child) {
  return note(sim_executable_set_child(executable, node, child));
}

EXPORT cudaError_t cudaGraphExecNodeSetParams(cudaGraphExec_t executable, cudaGraphNode_t node,
                                              struct cudaGraphNodeParams *parameters) {
  if (parameters->type != cudaGraphNodeTypeGraph) return note(SIM_NOT_SUPPORTED);
  return note(sim_executable_set_child(executable, node, parameters->graph.graph));
}
