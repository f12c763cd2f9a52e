/* Plays one rank of vLLM 0.8.5 (V0 engine, tensor parallel, eager) while it serves one request to
 * Llama-3.1-8B: the NCCL calls of that rank, in order, by the two ways vLLM calls NCCL:
 *
 *   as PyTorch does   linked, through the procedure linkage table: the driver's metadata (ncclBcast)
 *                     and the gather of the logits (grouped ncclSend and ncclRecv);
 *   as pynccl does    dlopen and dlsym: the all-reduces of the layers.
 *
 * Each way has its own communicator, as in vLLM. */
#include <dlfcn.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "nccl.h"

/* Llama-3.1-8B. */
enum { HIDDEN = 4096, LAYERS = 32, VOCABULARY = 128256 };
/* One for the embedding, two per layer: after attention and after the feed-forward network. */
enum { ALL_REDUCES = 1 + 2 * LAYERS };
/* Tokens in one block of vLLM's key-value cache. */
enum { BLOCK = 16 };

static const char usage[] =
    "usage: llama_rank --tp N --rank R (--ids-file PATH | --ids HEX)\n"
    "                  [--prompt TOKENS] [--output TOKENS] [--pace MS]\n"
    "\n"
    "Issues the NCCL calls of one tensor-parallel rank of vLLM that serves one request to\n"
    "Llama-3.1-8B: one prefill, then a decode step per further token.\n"
    "\n"
    "  --tp N           ranks, at least 2\n"
    "  --rank R         this one, from 0\n"
    "  --ids-file PATH  rank 0 writes the two unique ids there, the others wait for it\n"
    "  --ids HEX        the two unique ids, 512 hexadecimal digits\n"
    "  --prompt TOKENS  length of the prompt (128)\n"
    "  --output TOKENS  tokens to generate (128)\n"
    "  --pace MS        milliseconds per decode step, 0 for as fast as possible (0)\n";

struct options {
  int tp, rank, prompt, output, pace_ms;
  const char *ids_file, *ids_hex;
};

/* Two communicators, by whom they are used. */
struct ids {
  ncclUniqueId torch, pynccl;
};

static struct {
  ncclResult_t (*get_version)(int *);
  ncclResult_t (*init_rank)(ncclComm_t *, int, ncclUniqueId, int);
  ncclResult_t (*all_reduce)(const void *, void *, size_t, ncclDataType_t, ncclRedOp_t, ncclComm_t,
                             cudaStream_t);
  ncclComm_t comm;
} pynccl;

static ncclComm_t torch_comm;

static void fail(const char *what, const char *why) {
  fprintf(stderr, "llama_rank: %s: %s\n", what, why);
  exit(1);
}

#define CHECK(call)                                                         \
  do {                                                                      \
    ncclResult_t check_result = (call);                                     \
    if (check_result != ncclSuccess) fail(#call, ncclGetErrorString(check_result)); \
  } while (0)

static int number(const char *text, const char *option, int least) {
  char *end;
  long value = strtol(text, &end, 10);
  if (*text == 0 || *end != 0 || value < least || value > 1 << 24) {
    fprintf(stderr, "llama_rank: %s %s: not a number from %d to %d\n", option, text, least, 1 << 24);
    exit(2);
  }
  return (int)value;
}

static struct options read_options(int argc, char **argv) {
  static const struct option known[] = {
      {"tp", required_argument, NULL, 't'},       {"rank", required_argument, NULL, 'r'},
      {"prompt", required_argument, NULL, 'p'},   {"output", required_argument, NULL, 'o'},
      {"pace", required_argument, NULL, 'm'},     {"ids-file", required_argument, NULL, 'f'},
      {"ids", required_argument, NULL, 'i'},      {NULL, 0, NULL, 0}};
  struct options options = {.tp = 0, .rank = -1, .prompt = 128, .output = 128};
  int letter;
  while ((letter = getopt_long(argc, argv, "", known, NULL)) != -1) {
    switch (letter) {
      case 't': options.tp = number(optarg, "--tp", 2); break;
      case 'r': options.rank = number(optarg, "--rank", 0); break;
      case 'p': options.prompt = number(optarg, "--prompt", 1); break;
      case 'o': options.output = number(optarg, "--output", 1); break;
      case 'm': options.pace_ms = number(optarg, "--pace", 0); break;
      case 'f': options.ids_file = optarg; break;
      case 'i': options.ids_hex = optarg; break;
      default: options.tp = 0;
    }
    if (letter == '?') break;
  }
  int one_source = (options.ids_file == NULL) != (options.ids_hex == NULL);
  if (options.tp == 0 || options.rank < 0 || options.rank >= options.tp || !one_source) {
    fputs(usage, stderr);
    exit(2);
  }
  return options;
}

static void sleep_ms(long milliseconds) {
  struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
  while (nanosleep(&time, &time) == -1 && errno == EINTR) continue;
}

static void write_ids(const char *path, const struct ids *ids) {
  char draft[4096];
  snprintf(draft, sizeof draft, "%s.draft", path);
  FILE *file = fopen(draft, "w");
  if (file == NULL) fail(draft, strerror(errno));
  size_t written = fwrite(ids, sizeof *ids, 1, file);
  if (fclose(file) != 0 || written != 1 || rename(draft, path) != 0) fail(path, strerror(errno));
}

static struct ids wait_for_ids(const char *path) {
  struct ids ids;
  for (int waited_ms = 0; waited_ms < 30000; waited_ms += 10) {
    FILE *file = fopen(path, "r");
    if (file) {
      size_t read = fread(&ids, sizeof ids, 1, file);
      fclose(file);
      if (read == 1) return ids;
      fail(path, "holds no two unique ids");
    }
    if (errno != ENOENT) fail(path, strerror(errno));
    sleep_ms(10);
  }
  fail(path, "rank 0 has not written the unique ids within 30 s");
  return ids;
}

static struct ids read_hex(const char *hex) {
  struct ids ids;
  unsigned char *bytes = (unsigned char *)&ids;
  if (strlen(hex) != 2 * sizeof ids) fail("--ids", "not 512 hexadecimal digits");
  for (size_t i = 0; i < sizeof ids; i++) {
    char pair[3] = {hex[2 * i], hex[2 * i + 1], 0}, *end;
    bytes[i] = (unsigned char)strtoul(pair, &end, 16);
    if (end != pair + 2) fail("--ids", "not 512 hexadecimal digits");
  }
  return ids;
}

static struct ids agree_on_ids(const struct options *options) {
  if (options->ids_hex) return read_hex(options->ids_hex);
  if (options->rank != 0) return wait_for_ids(options->ids_file);
  struct ids ids;
  CHECK(ncclGetUniqueId(&ids.torch));
  CHECK(ncclGetUniqueId(&ids.pynccl));
  write_ids(options->ids_file, &ids);
  return ids;
}

static void *look_up(void *library, const char *name) {
  void *address = dlsym(library, name);
  if (address == NULL) fail(name, dlerror());
  return address;
}

/* What vllm/distributed/device_communicators/pynccl.py does when it is made, warm-up included. */
static void open_pynccl(const struct options *options, ncclUniqueId id) {
  void *library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) fail("libnccl.so.2", dlerror());
  pynccl.get_version = look_up(library, "ncclGetVersion");
  pynccl.init_rank = look_up(library, "ncclCommInitRank");
  pynccl.all_reduce = look_up(library, "ncclAllReduce");
  int version;
  CHECK(pynccl.get_version(&version));
  CHECK(pynccl.init_rank(&pynccl.comm, options->tp, id, options->rank));
  CHECK(pynccl.all_reduce(NULL, NULL, 1, ncclFloat32, ncclSum, pynccl.comm, NULL));
}

static void open_torch(const struct options *options, ncclUniqueId id) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  CHECK(ncclCommInitRankConfig(&torch_comm, options->tp, id, options->rank, &config));
}

static void broadcast(size_t count, ncclDataType_t datatype) {
  CHECK(ncclBcast(NULL, count, datatype, 0, torch_comm, NULL));
}

/* The driver tells the other ranks what to compute, one broadcast per tensor. A prefill has no block
 * tables. */
static void broadcast_metadata(size_t tokens, size_t block_tables) {
  broadcast(tokens, ncclInt64); /* input_tokens */
  broadcast(tokens, ncclInt64); /* positions */
  broadcast(tokens, ncclInt64); /* slot_mapping */
  broadcast(1, ncclInt32);      /* seq_lens */
  broadcast(1, ncclInt32);      /* context_lens */
  if (block_tables) broadcast(block_tables, ncclInt32);
  broadcast(2, ncclInt32); /* query_start_loc */
  broadcast(2, ncclInt32); /* seq_start_loc */
  broadcast(1, ncclInt64); /* selected_token_indices */
}

static void forward(size_t tokens) {
  for (int i = 0; i < ALL_REDUCES; i++) {
    CHECK(pynccl.all_reduce(NULL, NULL, tokens * HIDDEN, ncclBfloat16, ncclSum, pynccl.comm, NULL));
  }
}

/* torch.distributed.gather to rank 0, which keeps its own part without NCCL. */
static void gather_logits(const struct options *options) {
  size_t part = ((size_t)VOCABULARY + (size_t)options->tp - 1) / (size_t)options->tp;
  CHECK(ncclGroupStart());
  if (options->rank == 0) {
    for (int peer = 1; peer < options->tp; peer++) {
      CHECK(ncclRecv(NULL, part, ncclBfloat16, peer, torch_comm, NULL));
    }
  } else {
    CHECK(ncclSend(NULL, part, ncclBfloat16, 0, torch_comm, NULL));
  }
  CHECK(ncclGroupEnd());
}

int main(int argc, char **argv) {
  struct options options = read_options(argc, argv);
  struct ids ids = agree_on_ids(&options);
  open_torch(&options, ids.torch);
  open_pynccl(&options, ids.pynccl);

  broadcast_metadata((size_t)options.prompt, 0);
  forward((size_t)options.prompt);
  gather_logits(&options);

  for (int generated = 1; generated < options.output; generated++) {
    size_t context = (size_t)options.prompt + (size_t)generated;
    broadcast_metadata(1, (context + BLOCK - 1) / BLOCK);
    forward(1);
    gather_logits(&options);
    if (options.pace_ms) sleep_ms(options.pace_ms);
  }
  CHECK(ncclCommDestroy(torch_comm));
  return 0;
}
