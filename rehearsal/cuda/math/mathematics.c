/* cuBLAS, cuDNN and their kin: the functions whose outputs somebody reads. Handles are made up, sizes are small, no
 * work space is asked for. Everything else of these libraries computes, and so does nothing: the generated stubs say
 * so (rehearsal/src/stack/kinds.rs). Each library exports of this file what is asked of it. */
#include <stdint.h>
#include <string.h>

#include "../../common/environment.h"
#include "../core/core.h"

#define EXPORT __attribute__((visibility("default")))
#define CUDA_VERSION 12040

/* A handle that is none of anything else's. */
static int hand_out(void **handle) {
  static _Atomic uintptr_t next = 0x7000;
  *handle = (void *)(next += 16);
  return 0;
}

#define MAKES_A_HANDLE(function) \
  EXPORT int function(void **handle) { return hand_out(handle); }
#define TELLS(function, text) \
  EXPORT const char *function(int number) { (void)number; return text; }
#define GIVES_INT_ZERO(function) \
  EXPORT int function(void *handle, int *value) { (void)handle; *value = 0; return 0; }

/* ---- cuBLAS and cuBLASLt. */
MAKES_A_HANDLE(cublasCreate_v2)
MAKES_A_HANDLE(cublasLtCreate)
MAKES_A_HANDLE(cublasLtMatmulDescCreate)
MAKES_A_HANDLE(cublasLtMatmulPreferenceCreate)
MAKES_A_HANDLE(cublasLtMatrixLayoutCreate)
MAKES_A_HANDLE(cublasLtMatrixTransformDescCreate)
TELLS(cublasGetStatusString, "the status of a simulated cuBLAS")
TELLS(cublasGetStatusName, "CUBLAS_STATUS_SIMULATED")
TELLS(cublasLtGetStatusString, "the status of a simulated cuBLASLt")
TELLS(cublasLtGetStatusName, "CUBLAS_STATUS_SIMULATED")
GIVES_INT_ZERO(cublasGetMathMode)
GIVES_INT_ZERO(cublasGetPointerMode_v2)
GIVES_INT_ZERO(cublasGetAtomicsMode)
GIVES_INT_ZERO(cublasGetSmCountTarget)

EXPORT int cublasGetVersion_v2(void *handle, int *version) {
  (void)handle;
  *version = sim_cuda_version(CUDA_VERSION) >= 13000 ? 130000 : 120400;
  return 0;
}

EXPORT size_t cublasLtGetVersion(void) { return sim_cuda_version(CUDA_VERSION) >= 13000 ? 130000 : 120400; }

EXPORT size_t cublasLtGetCudartVersion(void) { return (size_t)sim_cuda_version(CUDA_VERSION); }

EXPORT int cublasGetStream_v2(void *handle, void **stream) {
  (void)handle;
  *stream = NULL;
  return 0;
}

struct heuristic { /* cublasLtMatmulHeuristicResult_t */
  uint64_t algorithm[8];
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
};

/* One algorithm, if any is asked for. */
EXPORT int cublasLtMatmulAlgoGetHeuristic(void *handle, void *operation, void *a, void *b, void *c, void *d,
                                          void *preference, int asked, struct heuristic *found, int *count) {
  (void)handle, (void)operation, (void)a, (void)b, (void)c, (void)d, (void)preference;
  *count = asked > 0;
  if (asked > 0) *found = (struct heuristic){.waves = 1};
  return 0;
}

EXPORT int cublasLtMatmulAlgoCheck(void *handle, void *operation, void *a, void *b, void *c, void *d,
                                   const void *algorithm, struct heuristic *result) {
  (void)handle, (void)operation, (void)a, (void)b, (void)c, (void)d, (void)algorithm;
  *result = (struct heuristic){.waves = 1};
  return 0;
}

/* ---- cuDNN. */
MAKES_A_HANDLE(cudnnCreate)
MAKES_A_HANDLE(cudnnCreateActivationDescriptor)
MAKES_A_HANDLE(cudnnCreateCTCLossDescriptor)
MAKES_A_HANDLE(cudnnCreateConvolutionDescriptor)
MAKES_A_HANDLE(cudnnCreateDropoutDescriptor)
MAKES_A_HANDLE(cudnnCreateFilterDescriptor)
MAKES_A_HANDLE(cudnnCreatePoolingDescriptor)
MAKES_A_HANDLE(cudnnCreateRNNDataDescriptor)
MAKES_A_HANDLE(cudnnCreateRNNDescriptor)
MAKES_A_HANDLE(cudnnCreateSpatialTransformerDescriptor)
MAKES_A_HANDLE(cudnnCreateTensorDescriptor)
TELLS(cudnnGetErrorString, "CUDNN_STATUS_SIMULATED")

EXPORT int cudnnBackendCreateDescriptor(int type, void **descriptor) {
  (void)type;
  return hand_out(descriptor);
}

EXPORT size_t cudnnGetVersion(void) { return (size_t)environment_number(SETTING_CUDNN_VERSION); }

EXPORT size_t cudnnGetCudartVersion(void) { return (size_t)sim_cuda_version(CUDA_VERSION); }

/* ---- cuSPARSE, cuSPARSELt, cuSOLVER, cuFFT, cuRAND. */
MAKES_A_HANDLE(cusparseCreate)
MAKES_A_HANDLE(cusparseCreateMatDescr)
MAKES_A_HANDLE(cusparseCreateBsrsm2Info)
MAKES_A_HANDLE(cusparseCreateBsrsv2Info)
MAKES_A_HANDLE(cusparseSpGEMM_createDescr)
MAKES_A_HANDLE(cusparseSpSM_createDescr)
MAKES_A_HANDLE(cusparseSpSV_createDescr)
MAKES_A_HANDLE(cusolverDnCreate)
MAKES_A_HANDLE(cusolverDnCreateParams)
MAKES_A_HANDLE(cusolverDnCreateGesvdjInfo)
MAKES_A_HANDLE(cusolverDnCreateSyevjInfo)
MAKES_A_HANDLE(cusolverSpCreate)
TELLS(cusparseGetErrorString, "the status of a simulated cuSPARSE")
TELLS(cusparseGetErrorName, "CUSPARSE_STATUS_SIMULATED")

EXPORT int cusparseLtInit(void *handle) {
  memset(handle, 0, 8);
  return 0;
}

EXPORT int cufftCreate(int *plan) {
  *plan = 1;
  return 0;
}

EXPORT int curandCreateGenerator(void **generator, int type) {
  (void)type;
  return hand_out(generator);
}

/* ---- nvRTC and nvJitLink: programs compile to nothing. */
enum { CODE_BYTES = 8 };

#define GIVES_SIZE(function, bytes) \
  EXPORT int function(void *program, size_t *size) { (void)program; *size = bytes; return 0; }
#define GIVES_ZEROS(function, bytes) \
  EXPORT int function(void *program, char *code) { (void)program; memset(code, 0, bytes); return 0; }

TELLS(nvrtcGetErrorString, "NVRTC_SIMULATED")
GIVES_SIZE(nvrtcGetPTXSize, CODE_BYTES)
GIVES_SIZE(nvrtcGetCUBINSize, CODE_BYTES)
GIVES_SIZE(nvrtcGetProgramLogSize, 1)
GIVES_ZEROS(nvrtcGetPTX, CODE_BYTES)
GIVES_ZEROS(nvrtcGetCUBIN, CODE_BYTES)
GIVES_ZEROS(nvrtcGetProgramLog, 1)

EXPORT int nvrtcVersion(int *major, int *minor) {
  *major = sim_cuda_version(CUDA_VERSION) / 1000;
  *minor = sim_cuda_version(CUDA_VERSION) % 1000 / 10;
  return 0;
}

EXPORT int nvrtcCreateProgram(void **program, const char *source, const char *name, int headers, const char **contents,
                              const char **include_names) {
  (void)source, (void)name, (void)headers, (void)contents, (void)include_names;
  return hand_out(program);
}

EXPORT int nvrtcGetLoweredName(void *program, const char *name, const char **lowered) {
  (void)program;
  *lowered = name;
  return 0;
}

EXPORT int nvrtcGetNumSupportedArchs(int *count) {
  *count = 1;
  return 0;
}

EXPORT int nvrtcGetSupportedArchs(int *architectures) {
  *architectures = sim_gpu()->major * 10 + sim_gpu()->minor;
  return 0;
}

/* ---- CUPTI: nothing is ever recorded. */
enum { CUPTI_NO_MORE_RECORDS = 12 };

EXPORT int cuptiGetVersion(uint32_t *version) {
  *version = sim_cuda_version(CUDA_VERSION) >= 13000 ? 130000 : 22;
  return 0;
}

EXPORT int cuptiActivityGetNextRecord(uint8_t *buffer, size_t bytes, void **record) {
  (void)buffer, (void)bytes;
  if (record) *record = NULL;
  return CUPTI_NO_MORE_RECORDS;
}

EXPORT int cuptiActivityGetNumDroppedRecords(void *context, uint32_t stream, size_t *dropped) {
  (void)context, (void)stream;
  *dropped = 0;
  return 0;
}

EXPORT int cuptiGetResultString(int result, const char **text) {
  (void)result;
  *text = "CUPTI_SIMULATED";
  return 0;
}

EXPORT int cuptiSubscribe(void **subscriber, void *callback, void *data) {
  (void)callback, (void)data;
  return hand_out(subscriber);
}

EXPORT int cuptiGetTimestamp(uint64_t *nanoseconds) {
  *nanoseconds = 0;
  return 0;
}

EXPORT int cuptiGetDeviceId(void *context, uint32_t *device) {
  (void)context;
  *device = 0;
  return 0;
}
