/* The GPUs that devices can be, once. Figures from NVIDIA's data sheets and CUDA's programming guide. */
#ifndef GPUS_H_
#define GPUS_H_

#define GIB (1024ull * 1024 * 1024)
#define MIB (1024ull * 1024)
#define KIB 1024

/* X(key, name, compute capability, memory, multiprocessors, L2, shared memory of a multiprocessor and of a
 *   block at most, clock kHz, memory clock kHz, bus bits, NVLinks, their version, cores, architecture) */
#define FOR_EACH_GPU(X)                                                                                  \
  X("h100", "NVIDIA H100 80GB HBM3", 9, 0, 81559 * MIB, 132, 50 * MIB, 228 * KIB, 227 * KIB, 1980000,    \
    2619000, 5120, 18, 4, 16896, 9)                                                                      \
  X("h200", "NVIDIA H200", 9, 0, 143771 * MIB, 132, 60 * MIB, 228 * KIB, 227 * KIB, 1980000, 3201000,    \
    6144, 18, 4, 16896, 9)                                                                               \
  X("a100", "NVIDIA A100-SXM4-80GB", 8, 0, 81920 * MIB, 108, 40 * MIB, 164 * KIB, 163 * KIB, 1410000,    \
    1593000, 5120, 12, 3, 6912, 7)                                                                       \
  X("b200", "NVIDIA B200", 10, 0, 183359 * MIB, 148, 126 * MIB, 228 * KIB, 227 * KIB, 1965000, 3996000,  \
    8192, 18, 5, 18944, 10)

#endif
