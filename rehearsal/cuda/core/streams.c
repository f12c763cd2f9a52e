/* Streams and events. What is not captured has happened when its call returns, so waiting is no work. */
#include <stdlib.h>
#include <time.h>

#include "internal.h"

#define STREAM_MAGIC 0x53494d5354524541ull
#define EVENT_MAGIC 0x53494d4556454e54ull

static struct stream *streams;
/* Of each device: the default stream. Of each thread and device: its own. */
static struct stream defaults[SIM_MAX_DEVICES];
static __thread struct stream own[SIM_MAX_DEVICES];

static struct stream *without_handle(struct stream *stream, unsigned flags) {
  lock();
  if (stream->magic == 0) {
    stream->magic = STREAM_MAGIC;
    stream->facts = (struct sim_stream_facts){next_id(), sim_device_current(), 0, flags};
    stream->next = NULL;
  }
  unlock();
  return stream;
}

struct stream *stream_of(void *handle) {
  if (handle == SIM_STREAM_DEFAULT || handle == SIM_STREAM_LEGACY) {
    return without_handle(&defaults[sim_device_current()], 0);
  }
  if (handle == SIM_STREAM_PER_THREAD) return without_handle(&own[sim_device_current()], 0);
  struct stream *stream = handle;
  return stream->magic == STREAM_MAGIC ? stream : NULL;
}

void streams_each(void (*visit)(struct stream *, void *), void *data) {
  for (struct stream *stream = streams; stream; stream = stream->next) visit(stream, data);
  for (int i = 0; i < SIM_MAX_DEVICES; i++) {
    visit(&defaults[i], data);
    visit(&own[i], data);
  }
}

int sim_stream_create(unsigned flags, int priority, void **handle) {
  if (handle == NULL) return SIM_INVALID_VALUE;
  struct stream *stream = must(calloc(1, sizeof *stream));
  lock();
  stream->magic = STREAM_MAGIC;
  stream->facts = (struct sim_stream_facts){next_id(), sim_device_current(), priority, flags};
  stream->next = streams;
  streams = stream;
  unlock();
  *handle = stream;
  return SIM_SUCCESS;
}

int sim_stream_destroy(void *handle) {
  struct stream *stream = stream_of(handle);
  if (stream == NULL || (uintptr_t)handle <= 2) return SIM_INVALID_HANDLE;
  lock();
  struct stream **link = &streams;
  while (*link && *link != stream) link = &(*link)->next;
  if (*link) *link = stream->next;
  if (stream->capture) {
    stream->capture->broken = 1;
    if (stream->capture->origin == stream) stream->capture->origin = NULL;
  }
  stream->magic = 0;
  unlock();
  free(stream);
  return SIM_SUCCESS;
}

int sim_stream_facts(void *handle, struct sim_stream_facts *facts) {
  struct stream *stream = stream_of(handle);
  if (stream == NULL) return SIM_INVALID_HANDLE;
  *facts = stream->facts;
  return SIM_SUCCESS;
}

/* Waiting for a stream that is being captured breaks the capture, as in CUDA. */
int sim_stream_finish(void *handle) {
  struct stream *stream = stream_of(handle);
  if (stream == NULL) return SIM_INVALID_HANDLE;
  lock();
  int capturing = stream->capture != NULL;
  if (capturing) stream->capture->broken = 1;
  unlock();
  return capturing ? SIM_CAPTURE_UNSUPPORTED : SIM_SUCCESS;
}

int sim_device_finish(void) { return sim_capture_permits_unsafe(); }

static struct event *event_of(void *handle) {
  struct event *event = handle;
  return event && event->magic == EVENT_MAGIC ? event : NULL;
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int sim_event_create(unsigned flags, void **handle) {
  if (handle == NULL) return SIM_INVALID_VALUE;
  struct event *event = must(calloc(1, sizeof *event));
  event->magic = EVENT_MAGIC;
  event->flags = flags;
  *handle = event;
  return SIM_SUCCESS;
}

int sim_event_destroy(void *handle) {
  struct event *event = event_of(handle);
  if (event == NULL) return SIM_INVALID_HANDLE;
  event->magic = 0;
  free(event);
  return SIM_SUCCESS;
}

enum { RECORD_EXTERNAL = 1 };

int sim_event_record(void *handle, void *stream_handle, unsigned flags) {
  struct event *event = event_of(handle);
  struct stream *stream = stream_of(stream_handle);
  if (event == NULL || stream == NULL) return SIM_INVALID_HANDLE;
  int result = SIM_SUCCESS;
  lock();
  if (stream->capture && stream->capture->broken) {
    result = SIM_CAPTURE_INVALIDATED;
  } else if (stream->capture && flags == RECORD_EXTERNAL) {
    capture_append(stream, SIM_NODE_RECORD_EVENT);
  } else {
    event->recorded_ns = now_ns();
    event->capture = stream->capture ? stream->capture->id : 0;
    event->stream = stream->capture ? stream : NULL;
    event->work = stream->work;
  }
  unlock();
  return result;
}

/* Synchronize and query. */
int sim_event_finish(void *handle) {
  struct event *event = event_of(handle);
  if (event == NULL) return SIM_INVALID_HANDLE;
  return event->stream ? SIM_CAPTURED_EVENT : SIM_SUCCESS;
}

int sim_event_elapsed(void *start_handle, void *end_handle, float *milliseconds) {
  struct event *start = event_of(start_handle), *end = event_of(end_handle);
  if (start == NULL || end == NULL || milliseconds == NULL) return SIM_INVALID_HANDLE;
  if (start->recorded_ns == 0 || end->recorded_ns == 0) return SIM_INVALID_HANDLE;
  *milliseconds = (float)((double)end->recorded_ns - (double)start->recorded_ns) * 1e-6f;
  return SIM_SUCCESS;
}

/* The capture that is going on in the stream that recorded the event; NULL where it has ended. */
static struct capture *capture_of_event(const struct event *event) {
  if (event->stream == NULL || event->stream->magic != STREAM_MAGIC) return NULL;
  struct capture *capture = event->stream->capture;
  return capture && capture->id == event->capture ? capture : NULL;
}

/* A stream that waits for an event of a capture becomes part of it. */
int sim_stream_wait(void *stream_handle, void *event_handle) {
  struct stream *stream = stream_of(stream_handle);
  struct event *event = event_of(event_handle);
  if (stream == NULL || event == NULL) return SIM_INVALID_HANDLE;
  int result = SIM_SUCCESS;
  lock();
  struct capture *capture = capture_of_event(event);
  if (capture == NULL) {
    if (stream->capture && event->capture) {
      stream->capture->broken = 1;
      result = SIM_CAPTURE_MERGE;
    }
  } else if (stream->capture && stream->capture != capture) {
    stream->capture->broken = capture->broken = 1;
    result = SIM_CAPTURE_MERGE;
  } else {
    if (stream->capture == NULL) {
      stream->capture = capture;
      stream->unjoined = 0;
      stream->tip = event->stream->tip;
    }
    if (event->stream != stream && event->stream->work == event->work && event->stream->unjoined) {
      event->stream->unjoined = 0;
      stream->unjoined = stream != capture->origin;
      stream->work++;
    }
  }
  unlock();
  return result;
}
