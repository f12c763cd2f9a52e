/* Devices: all alike, of the kind that NCCLTAP_REHEARSAL_GPU names. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../common/environment.h"
#include "internal.h"

#include "gpus.h" /* written by build.rs from src/gpus.rs */

#define MIB (1024ull * 1024)

static struct {
  const struct sim_gpu *gpu;
  size_t memory;
  int machine_devices, count, visible[SIM_MAX_DEVICES];
} machine;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static __thread int current;

static const struct sim_gpu *find_gpu(const char *key) {
  for (size_t i = 0; i < sizeof gpus / sizeof *gpus; i++) {
    if (strcmp(gpus[i].key, key) == 0) return &gpus[i];
  }
  fprintf(stderr, "nccltap rehearsal: NCCLTAP_REHEARSAL_GPU is `%s`, and must be one of:", key);
  for (size_t i = 0; i < sizeof gpus / sizeof *gpus; i++) fprintf(stderr, " %s", gpus[i].key);
  fputc('\n', stderr);
  _exit(2);
}

void sim_device_uuid(int machine_device, unsigned char uuid[16]) {
  for (int i = 0; i < 16; i++) uuid[i] = (unsigned char)(0x11 * (i & 7) + 0x40 + machine_device);
}

/* A device of CUDA_VISIBLE_DEVICES: a number, or GPU- and the beginning of a UUID. -1 for none. */
static int named_device(const char *name, size_t length) {
  char *end;
  long number = strtol(name, &end, 10);
  if (end == name + length && length && number >= 0 && number < machine.machine_devices) return (int)number;
  if (length <= 4 || strncmp(name, "GPU-", 4) != 0) return -1;
  for (int device = 0; device < machine.machine_devices; device++) {
    char text[41];
    sim_device_uuid_text(device, text);
    if (length <= strlen(text) && strncmp(text, name, length) == 0) return device;
  }
  return -1;
}

/* As CUDA does: what comes after the first name that is none is not visible. */
static void read_visible(const char *list) {
  while (machine.count < SIM_MAX_DEVICES) {
    size_t length = strcspn(list, ",");
    int device = named_device(list, length);
    if (device < 0) return;
    machine.visible[machine.count++] = device;
    if (list[length] == 0) return;
    list += length + 1;
  }
}

/* Said by the first process of a tree that asks for devices: its children inherit that it was said. */
static void say_what_it_is(void) {
  if (*environment_text(SETTING_SAID)) return;
  setenv("NCCLTAP_REHEARSAL_SAID", "1", 1);
  fprintf(stderr, "nccltap rehearsal: GPUs ARE SIMULATED (%d x %s): no kernel computes, results are meaningless\n",
          machine.machine_devices, machine.gpu->name);
}

static void begin(void) {
  machine.gpu = find_gpu(environment_text(SETTING_GPU));
  long memory = environment_number(SETTING_MEMORY_MIB);
  machine.memory = (memory > 0 ? (size_t)memory : machine.gpu->memory_mib) * MIB;
  long devices = environment_number(SETTING_GPUS);
  machine.machine_devices = (int)(devices < 0 ? 0 : devices > SIM_MAX_DEVICES ? SIM_MAX_DEVICES : devices);
  const char *list = getenv("CUDA_VISIBLE_DEVICES");
  if (list) {
    read_visible(list);
  } else {
    for (int i = 0; i < machine.machine_devices; i++) machine.visible[machine.count++] = i;
  }
  say_what_it_is();
}

const struct sim_gpu *sim_gpu(void) {
  pthread_once(&once, begin);
  return machine.gpu;
}

int sim_machine_devices(void) {
  pthread_once(&once, begin);
  return machine.machine_devices;
}

int sim_device_count(void) {
  pthread_once(&once, begin);
  return machine.count;
}

int sim_machine_device(int device) {
  return device >= 0 && device < sim_device_count() ? machine.visible[device] : -1;
}

int sim_device_current(void) { return current; }

int sim_device_select(int device) {
  if (sim_machine_device(device) < 0) return SIM_INVALID_DEVICE;
  current = device;
  return SIM_SUCCESS;
}

size_t sim_device_memory(void) {
  pthread_once(&once, begin);
  return machine.memory;
}

int sim_device_pci_bus(int machine_device) { return 0x10 + machine_device; }

void sim_device_uuid_text(int machine_device, char text[41]) {
  unsigned char u[16];
  sim_device_uuid(machine_device, u);
  snprintf(text, 41, "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1],
           u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
}

int sim_cuda_version(int of_this_library) {
  long version = environment_number(SETTING_CUDA_VERSION);
  return version > 0 ? (int)version : of_this_library;
}
