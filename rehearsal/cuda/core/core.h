/* What the simulated CUDA libraries share: librehearsal.so.1. Runtime, driver, NVML and mathematics are thin
 * over it, so that a stream made by one is a stream of the others, as in CUDA.
 *
 * Functions that return int return an error of errors.h. Handles are pointers; a handle that is none is
 * SIM_INVALID_HANDLE or SIM_INVALID_VALUE, never a crash. One lock guards everything (lock.c). */
#ifndef CORE_H_
#define CORE_H_

#include <stddef.h>
#include <stdint.h>

#include "capture_hooks.h"
#include "errors.h"

#define SIM_API __attribute__((visibility("default")))
#define SIM_MAX_DEVICES 64

/* ---- devices.c: the devices of this machine, all of one kind. */

/* A row of the table in rehearsal/src/gpus.rs, in the order of its fields; build.rs writes gpus.h from it. */
struct sim_gpu {
  const char *key, *name;
  int major, minor; /* compute capability */
  size_t memory_mib;
  int multiprocessors, l2_kib, shared_per_multiprocessor_kib, shared_per_block_kib;
  int clock_khz, memory_clock_khz, memory_bus_bits;
  int nvlinks, nvlink_version;
  int cores;        /* CUDA cores, as NVML tells them */
  int architecture; /* nvmlDeviceArchitecture_t */
};

SIM_API const struct sim_gpu *sim_gpu(void);
/* Devices of the machine, and those that CUDA_VISIBLE_DEVICES leaves. */
SIM_API int sim_machine_devices(void);
SIM_API int sim_device_count(void);
/* The device of the machine that is this one among the visible; -1 where there is none. */
SIM_API int sim_machine_device(int device);
SIM_API int sim_device_current(void);
SIM_API int sim_device_select(int device);
/* A device attribute, by the number that cudaDeviceAttr and CUdevice_attribute share. */
SIM_API int sim_device_attribute(int attribute, int device, int *value);
SIM_API size_t sim_device_memory(void);
/* Bytes in use, with what a context takes. */
SIM_API size_t sim_device_memory_used(int device);
SIM_API void sim_device_uuid(int machine_device, unsigned char uuid[16]);
SIM_API void sim_device_uuid_text(int machine_device, char text[41]);
SIM_API int sim_device_pci_bus(int machine_device);
SIM_API int sim_cuda_version(int of_this_library);

/* ---- memory.c: every allocation, and what copies do. */

enum sim_memory { SIM_DEVICE, SIM_HOST, SIM_REGISTERED, SIM_MANAGED, SIM_RESERVED, SIM_PEER };

struct sim_allocation {
  uintptr_t base;
  size_t size;
  int device;
  enum sim_memory memory;
  int fd;     /* of the file that another process can map, or -1 */
  int shared; /* whether another process may write to it */
};

/* NULL where the device's memory is used up. */
SIM_API void *sim_allocate(size_t size, enum sim_memory memory);
SIM_API int sim_free(void *address);
SIM_API int sim_register(void *address, size_t size);
SIM_API int sim_unregister(void *address);
/* The allocation that holds the address; 0 where none does. */
SIM_API int sim_find_allocation(const void *address, struct sim_allocation *found);
/* Puts a new allocation of a file into the address space, at `at` if that is not NULL. */
SIM_API void *sim_map_file(int fd, size_t size, enum sim_memory memory);

/* A rectangle of bytes to copy. */
struct sim_copy {
  void *to;
  const void *from;
  size_t to_pitch, from_pitch, width, height;
  int kind; /* cudaMemcpyKind */
};
enum { SIM_HOST_TO_HOST, SIM_HOST_TO_DEVICE, SIM_DEVICE_TO_HOST, SIM_DEVICE_TO_DEVICE, SIM_COPY_DEFAULT };
/* A rectangle to fill with elements of 1, 2 or 4 bytes. */
struct sim_fill {
  void *to;
  uint32_t value;
  int element_bytes;
  size_t pitch, width, height; /* width in elements */
};
SIM_API void sim_copy_now(const struct sim_copy *copy);
SIM_API void sim_fill_now(const struct sim_fill *fill);
/* The next copy to the host of exactly this range delivers its bytes, whatever the setting says. */
SIM_API void sim_real_read_once(const void *address, size_t size);

/* ---- ipc.c: memory of one process in another. */

struct sim_ipc_handle {
  uint64_t magic, base, size;
  int32_t pid, fd;
};
SIM_API int sim_ipc_export(void *address, struct sim_ipc_handle *handle);
SIM_API int sim_ipc_open(const struct sim_ipc_handle *handle, void **address);

/* ---- streams.c: streams and events. Everything that is not captured has happened when the call returns. */

/* Handles that are no pointers: the default stream, the same by name, and each thread's own. */
#define SIM_STREAM_DEFAULT NULL
#define SIM_STREAM_LEGACY ((void *)1)
#define SIM_STREAM_PER_THREAD ((void *)2)

struct sim_stream_facts {
  uint64_t id;
  int device, priority;
  unsigned flags;
};
SIM_API int sim_stream_create(unsigned flags, int priority, void **stream);
SIM_API int sim_stream_destroy(void *stream);
SIM_API int sim_stream_facts(void *stream, struct sim_stream_facts *facts);
/* Synchronize and query: SIM_SUCCESS, or an error where the stream is being captured. */
SIM_API int sim_stream_finish(void *stream);
SIM_API int sim_device_finish(void);
SIM_API int sim_stream_wait(void *stream, void *event);
SIM_API int sim_event_create(unsigned flags, void **event);
SIM_API int sim_event_destroy(void *event);
SIM_API int sim_event_record(void *event, void *stream, unsigned flags);
SIM_API int sim_event_finish(void *event);
SIM_API int sim_event_elapsed(void *start, void *end, float *milliseconds);

/* ---- captures.c: stream capture. */

enum { SIM_CAPTURE_GLOBAL, SIM_CAPTURE_THREAD_LOCAL, SIM_CAPTURE_RELAXED };
enum { SIM_CAPTURE_NONE, SIM_CAPTURE_ACTIVE, SIM_CAPTURE_BROKEN };

struct sim_capture_facts {
  int status;
  uint64_t id;
  void *graph;
  void **dependencies;
  size_t dependency_count;
};
/* `graph` NULL: into a new one. */
SIM_API int sim_capture_begin(void *stream, void *graph, int mode);
SIM_API int sim_capture_end(void *stream, void **graph);
SIM_API int sim_capture_facts(void *stream, struct sim_capture_facts *facts);
SIM_API int sim_capture_exchange_mode(int *mode);
/* For calls that are unsafe while a stream is captured, as cudaMalloc is: an error, or SIM_SUCCESS. */
SIM_API int sim_capture_permits_unsafe(void);
SIM_API sim_capture_of_t sim_capture_of;
SIM_API sim_capture_operation_t sim_capture_operation;

/* ---- work.c: what a stream is given to do: done at once, or made a node of the graph it captures. */

struct sim_kernel {
  const char *name;  /* mangled, or NULL where it is not known */
  const void *identity; /* the same for each launch of one kernel */
  void **arguments;
  unsigned grid[3], block[3];
};
SIM_API int sim_do_kernel(void *stream, const struct sim_kernel *kernel);
SIM_API int sim_do_copy(void *stream, const struct sim_copy *copy);
SIM_API int sim_do_fill(void *stream, const struct sim_fill *fill);

/* ---- peer_copies.c: copies that name both devices. The account counts each, within one device too. */

struct sim_peer_copy {
  struct sim_copy bytes;
  int from, to;
};
SIM_API int sim_peer_copy_now(const struct sim_peer_copy *copy);
SIM_API int sim_do_peer_copy(void *stream, const struct sim_peer_copy *copy);
SIM_API int sim_do_host(void *stream, void (*function)(void *), void *data);

/* ---- graphs.c: graphs and their nodes. executables.c: what is made of them, and launches. */

/* cudaGraphNodeType and CUgraphNodeType. */
enum sim_node_type {
  SIM_NODE_KERNEL, SIM_NODE_COPY, SIM_NODE_FILL, SIM_NODE_HOST, SIM_NODE_GRAPH, SIM_NODE_EMPTY,
  SIM_NODE_WAIT_EVENT, SIM_NODE_RECORD_EVENT, SIM_NODE_CONDITIONAL = 13
};
SIM_API int sim_graph_create(void **graph);
SIM_API int sim_graph_destroy(void *graph);
SIM_API int sim_graph_clone(void *graph, void **clone);
SIM_API int sim_graph_nodes(void *graph, void **nodes, size_t *count);
SIM_API int sim_node_type(void *node, int *type);
SIM_API int sim_node_destroy(void *node);
SIM_API int sim_node_child(void *node, void **graph);
SIM_API int sim_node_set_child(void *node, void *child);
SIM_API int sim_node_in_clone(void *node, void *clone, void **found);
SIM_API int sim_graph_add_empty(void *graph, void **node);
SIM_API int sim_graph_add_kernel(void *graph, const struct sim_kernel *kernel, void **node);
SIM_API int sim_graph_add_copy(void *graph, const struct sim_copy *copy, void **node);
SIM_API int sim_graph_add_fill(void *graph, const struct sim_fill *fill, void **node);
SIM_API int sim_graph_add_host(void *graph, void (*function)(void *), void *data, void **node);
SIM_API int sim_graph_add_child(void *graph, void *child, void **node);
/* The body graphs, `count` of them, belong to the node. */
SIM_API int sim_graph_add_conditional(void *graph, uint64_t handle, int count, void ***bodies, void **node);
SIM_API int sim_conditional_create(void *graph, unsigned value, int is_default, uint64_t *handle);
SIM_API int sim_user_object_create(void *pointer, void (*destroy)(void *), unsigned references, void **object);
SIM_API int sim_user_object_retain(void *object, unsigned references);
SIM_API int sim_user_object_release(void *object, unsigned references);
SIM_API int sim_graph_keep(void *graph, void *object, unsigned references, int moves);
SIM_API int sim_graph_let_go(void *graph, void *object, unsigned references);

SIM_API int sim_executable_create(void *graph, unsigned long long flags, void **executable);
SIM_API int sim_executable_update(void *executable, void *graph);
/* `node` is one of the graph that the executable was made of. */
SIM_API int sim_executable_set_child(void *executable, void *node, void *child);
SIM_API int sim_executable_launch(void *executable, void *stream);
/* Checks only: an upload executes nothing. */
SIM_API int sim_executable_upload(void *executable, void *stream);
SIM_API int sim_executable_destroy(void *executable);

/* ---- missing.c: ends the process with one line that names the function, its library and who called it. */
SIM_API void sim_missing(const char *function, const char *library, const void *return_address)
    __attribute__((noreturn));

#endif
