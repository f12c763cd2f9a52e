/* peer_copies CORNER: copies from one GPU to another; tests/peer_copies.rs names and explains them. */
#include "cuda.h"

#include <dlfcn.h>

enum { BYTES = 1 << 20 };

static cudaStream_t stream;
static char *memory[2]; /* one of each device */

static void allocate(void) {
  for (int device = 0; device < 2; device++) {
    MUST(cudaSetDevice(device) == cudaSuccess && cudaMalloc((void **)&memory[device], BYTES) == cudaSuccess);
  }
}

static void copy(int to, int from, size_t bytes, int times) {
  for (int i = 0; i < times; i++) {
    MUST(cudaMemcpyPeerAsync(memory[to], to, memory[from], from, bytes, stream) == cudaSuccess);
  }
}

/* 96 bytes, 4 rows, 2 slices, out of rows of 128 bytes. */
static struct cudaMemcpy3DPeerParms box(int to, int from) {
  return (struct cudaMemcpy3DPeerParms){
      .srcPos = {16, 0, 0}, .srcPtr = {memory[from], 128, 128, 4}, .srcDevice = from,
      .dstPtr = {memory[to], 128, 128, 4}, .dstDevice = to, .extent = {96, 4, 2}};
}

static void eager(void) {
  ncclComm_t comm = communicator('a', 2, 1);
  for (int i = 0; i < 3; i++) MUST(cudaMemcpyPeer(memory[1], 1, memory[0], 0, BYTES) == cudaSuccess);
  copy(0, 1, 4096, 5);
  struct cudaMemcpy3DPeerParms there = box(1, 0);
  MUST(cudaMemcpy3DPeer(&there) == cudaSuccess && cudaMemcpy3DPeer_ptds(&there) == cudaSuccess);
  MUST(cudaMemcpy3DPeerAsync(&there, stream) == cudaSuccess && cudaMemcpy3DPeerAsync_ptsz(&there, NULL) == cudaSuccess);
  /* A group waits for its end. A copy does not, though it is called inside. */
  MUST(ncclGroupStart() == ncclSuccess);
  all_reduce_on(comm, 64, stream);
  copy(1, 0, 512, 2);
  MUST(ncclGroupEnd() == ncclSuccess);
}

/* What moves nothing between GPUs, does not say so, or is refused. */
static void others(void) {
  communicator('a', 2, 1);
  copy(1, 0, 512, 1);
  copy(1, 1, 4096, 7);
  for (int i = 0; i < 9; i++) {
    MUST(cudaMemcpyAsync(memory[1], memory[0], 2048, cudaMemcpyDeviceToDevice, stream) == cudaSuccess);
    MUST(cudaMemcpyAsync(memory[1], memory[0], 2048, cudaMemcpyDefault, stream) == cudaSuccess);
  }
  MUST(cudaMemcpyPeerAsync(memory[1], 99, memory[0], 0, 512, stream) == cudaErrorInvalidDevice);
}

static void graphs(void) {
  ncclComm_t comm = communicator('a', 2, 1);
  copy(1, 0, 4096, 1);
  struct cudaMemcpy3DPeerParms there = box(1, 0);
  begin_capture(stream);
  copy(1, 0, 4096, 6);
  copy(0, 0, 4096, 2);
  MUST(cudaMemcpy3DPeerAsync(&there, stream) == cudaSuccess);
  all_reduce_on(comm, 64, stream);
  MUST(ncclGroupStart() == ncclSuccess);
  all_reduce_on(comm, 128, stream);
  copy(0, 1, 256, 1);
  MUST(ncclGroupEnd() == ncclSuccess);
  cudaGraphExec_t executable = instantiated(end_capture(stream));
  launch(executable, stream, 127);
}

/* CUDA_MEMCPY3D_PEER */
struct end {
  size_t x, y, z, level;
  unsigned memory;
  void *host;
  size_t device;
  void *array, *context;
  size_t pitch, height;
};
struct driver_box {
  struct end from, to;
  size_t width, height, depth;
};

static void driver(void) {
  communicator('a', 2, 1);
  void *cuda = dlopen("libcuda.so.1", RTLD_NOW);
  MUST(cuda);
  int (*retain)(void **, int) = dlsym(cuda, "cuDevicePrimaryCtxRetain");
  int (*now)(char *, void *, char *, void *, size_t) = dlsym(cuda, "cuMemcpyPeer");
  int (*now_of_thread)(char *, void *, char *, void *, size_t) = dlsym(cuda, "cuMemcpyPeer_ptds");
  int (*box_now)(const struct driver_box *) = dlsym(cuda, "cuMemcpy3DPeer");
  int (*box_of_thread)(const struct driver_box *, void *) = dlsym(cuda, "cuMemcpy3DPeerAsync_ptsz");
  int (*find)(const char *, void **, int, unsigned long, int *) = dlsym(cuda, "cuGetProcAddress_v2");
  MUST(retain && now && now_of_thread && box_now && box_of_thread && find);
  int (*later)(char *, void *, char *, void *, size_t, void *) = NULL;
  MUST(find("cuMemcpyPeerAsync", (void **)&later, 4000, 0, NULL) == 0 && later);
  void *contexts[2];
  for (int device = 0; device < 2; device++) MUST(retain(&contexts[device], device) == 0);
  for (int i = 0; i < 4; i++) MUST(now(memory[1], contexts[1], memory[0], contexts[0], 8192) == 0);
  MUST(now_of_thread(memory[0], contexts[0], memory[1], contexts[1], 8192) == 0);
  for (int i = 0; i < 3; i++) MUST(now(memory[1], contexts[1], memory[1], contexts[1], 8192) == 0);
  for (int i = 0; i < 6; i++) MUST(later(memory[1], contexts[1], memory[0], contexts[0], 1024, stream) == 0);
  struct driver_box box = {
      .from = {.x = 16, .memory = 2, .device = (size_t)memory[0], .context = contexts[0], .pitch = 128, .height = 4},
      .to = {.memory = 2, .device = (size_t)memory[1], .context = contexts[1], .pitch = 128, .height = 4},
      .width = 96, .height = 4, .depth = 2};
  MUST(box_now(&box) == 0 && box_of_thread(&box, NULL) == 0);
}

/* No communicator at all: the first copy brings the tap to life. */
static void alone(void) { copy(1, 0, 512, 10); }

int main(int argc, char **argv) {
  static const struct { const char *name; void (*run)(void); } corners[] = {
      {"eager", eager}, {"others", others}, {"graphs", graphs}, {"driver", driver}, {"alone", alone},
  };
  MUST(argc > 1);
  stream = new_stream();
  allocate();
  for (size_t i = 0; i < sizeof corners / sizeof *corners; i++) {
    if (strcmp(argv[1], corners[i].name) == 0) {
      corners[i].run();
      return 0;
    }
  }
  return 98;
}
