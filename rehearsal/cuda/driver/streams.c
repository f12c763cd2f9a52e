/* Streams and events. */
#include "driver.h"

EXPORT CUresult cuStreamCreate(CUstream *stream, unsigned flags) { return sim_stream_create(flags, 0, stream); }

EXPORT CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned flags, int priority) {
  return sim_stream_create(flags, priority, stream);
}

EXPORT CUresult cuStreamDestroy_v2(CUstream stream) { return sim_stream_destroy(stream); }

EXPORT CUresult cuStreamGetCtx(CUstream stream, CUcontext *context) {
  struct sim_stream_facts facts;
  int error = sim_stream_facts(stream, &facts);
  if (error == SIM_SUCCESS) *context = context_of(facts.device);
  return error;
}

EXPORT CUresult cuStreamGetPriority(CUstream stream, int *priority) {
  struct sim_stream_facts facts;
  int error = sim_stream_facts(stream, &facts);
  if (error == SIM_SUCCESS) *priority = facts.priority;
  return error;
}

EXPORT CUresult cuStreamGetFlags(CUstream stream, unsigned *flags) {
  struct sim_stream_facts facts;
  int error = sim_stream_facts(stream, &facts);
  if (error == SIM_SUCCESS) *flags = facts.flags;
  return error;
}

EXPORT CUresult cuStreamGetId(CUstream stream, unsigned long long *id) {
  struct sim_stream_facts facts;
  int error = sim_stream_facts(stream, &facts);
  if (error == SIM_SUCCESS) *id = facts.id;
  return error;
}

EXPORT CUresult cuStreamSynchronize(CUstream stream) { return sim_stream_finish(stream); }

EXPORT CUresult cuStreamQuery(CUstream stream) { return sim_stream_finish(stream); }

EXPORT CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags) {
  (void)flags;
  return sim_stream_wait(stream, event);
}

/* Waiting for and writing values in memory: a value that is waited for is taken to be there. */
EXPORT CUresult cuStreamWriteValue32_v2(CUstream stream, CUdeviceptr address, uint32_t value, unsigned flags) {
  (void)flags;
  struct sim_fill fill = {.to = (void *)address, .value = value, .element_bytes = 4, .width = 1, .height = 1};
  return sim_do_fill(stream, &fill);
}

EXPORT CUresult cuStreamWaitValue32_v2(CUstream stream, CUdeviceptr address, uint32_t value, unsigned flags) {
  (void)stream, (void)address, (void)value, (void)flags;
  return SIM_SUCCESS;
}

EXPORT CUresult cuEventCreate(CUevent *event, unsigned flags) { return sim_event_create(flags, event); }

EXPORT CUresult cuEventDestroy_v2(CUevent event) { return sim_event_destroy(event); }

EXPORT CUresult cuEventRecord(CUevent event, CUstream stream) { return sim_event_record(event, stream, 0); }

EXPORT CUresult cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned flags) {
  return sim_event_record(event, stream, flags);
}

EXPORT CUresult cuEventQuery(CUevent event) { return sim_event_finish(event); }

EXPORT CUresult cuEventSynchronize(CUevent event) { return sim_event_finish(event); }

EXPORT CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end) {
  return sim_event_elapsed(start, end, milliseconds);
}

EXPORT CUresult cuEventElapsedTime_v2(float *milliseconds, CUevent start, CUevent end) {
  return sim_event_elapsed(start, end, milliseconds);
}
