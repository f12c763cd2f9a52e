/* A tool that, like HAMi-core, answers a repeated RTLD_NEXT look-up of the same function with NULL. */
#include <dlfcn.h>
#include <stddef.h>

enum { REMEMBERED = 256 };
static void *(*real)(void *, const char *);
static void *answers[REMEMBERED];
static int count;

void *dlsym(void *handle, const char *name) {
  if (real == NULL) real = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
  void *answer = real(handle, name);
  if (handle != RTLD_NEXT || answer == NULL) return answer;
  for (int i = 0; i < count; i++) {
    if (answers[i] == answer) return NULL;
  }
  if (count < REMEMBERED) answers[count++] = answer;
  return answer;
}
