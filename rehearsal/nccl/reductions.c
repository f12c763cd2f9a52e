/* Sums, products, minima and maxima, for real. The same order on all ranks, so that all get the same bits. */
#include "reductions.h"

#include <stdint.h>
#include <string.h>

size_t datatype_bytes(ncclDataType_t datatype) {
  static const size_t bytes[ncclNumTypes] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1};
  return (int)datatype >= 0 && datatype < ncclNumTypes ? bytes[datatype] : 0;
}

int can_reduce(ncclDataType_t datatype, ncclRedOp_t op) {
  return datatype < ncclFloat8e4m3 && (int)op >= 0 && op < ncclNumOps;
}

/* bfloat16 is the upper half of a float; narrowed to the nearest, ties to even. */
static float widen(uint16_t half) {
  uint32_t bits = (uint32_t)half << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static uint16_t narrow(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  if (value != value) return (uint16_t)(bits >> 16 | 0x40);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#define SAME(value) (value)
#define COMBINE(type, load, store, expression)                  \
  for (size_t i = 0; i < count; i++) {                          \
    __auto_type a = load(((const type *)into)[i]);              \
    __auto_type b = load(((const type *)from)[i]);              \
    ((type *)into)[i] = (type)store(expression);                \
  }                                                             \
  break
#define REDUCE(type, load, store)                                \
  switch (op) {                                                  \
    case ncclProd: COMBINE(type, load, store, a * b);            \
    case ncclMax: COMBINE(type, load, store, a > b ? a : b);     \
    case ncclMin: COMBINE(type, load, store, a < b ? a : b);     \
    default: COMBINE(type, load, store, a + b);                  \
  }                                                              \
  break

void reduce(ncclDataType_t datatype, ncclRedOp_t op, void *into, const void *from, size_t count) {
  switch (datatype) {
    case ncclInt8: REDUCE(int8_t, SAME, SAME);
    case ncclUint8: REDUCE(uint8_t, SAME, SAME);
    case ncclInt32: REDUCE(int32_t, SAME, SAME);
    case ncclUint32: REDUCE(uint32_t, SAME, SAME);
    case ncclInt64: REDUCE(int64_t, SAME, SAME);
    case ncclUint64: REDUCE(uint64_t, SAME, SAME);
    case ncclFloat16: REDUCE(_Float16, (float), SAME);
    case ncclFloat32: REDUCE(float, SAME, SAME);
    case ncclFloat64: REDUCE(double, SAME, SAME);
    case ncclBfloat16: REDUCE(uint16_t, widen, narrow);
    default: break;
  }
}

#define DIVIDE(type, load, store)                                                                          \
  for (size_t i = 0; i < count; i++) ((type *)into)[i] = (type)store(load(((type *)into)[i]) / ranks);     \
  break

void divide(ncclDataType_t datatype, void *into, size_t count, int ranks) {
  switch (datatype) {
    case ncclInt8: DIVIDE(int8_t, SAME, SAME);
    case ncclUint8: DIVIDE(uint8_t, SAME, SAME);
    case ncclInt32: DIVIDE(int32_t, SAME, SAME);
    case ncclUint32: DIVIDE(uint32_t, SAME, SAME);
    case ncclInt64: DIVIDE(int64_t, SAME, SAME);
    case ncclUint64: DIVIDE(uint64_t, SAME, SAME);
    case ncclFloat16: DIVIDE(_Float16, (float), SAME);
    case ncclFloat32: DIVIDE(float, SAME, SAME);
    case ncclFloat64: DIVIDE(double, SAME, SAME);
    case ncclBfloat16: DIVIDE(uint16_t, widen, narrow);
    default: break;
  }
}
