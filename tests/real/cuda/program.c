/* Lets a real CUDA runtime look for its driver: the one it is linked to, or with an argument the library of that path. */
#include <dlfcn.h>
#include <stdio.h>

#ifdef LINKED
int cudaGetDeviceCount(int *count);
int cudaGraphLaunch(void *executable, void *stream);
#endif

int main(int argc, char **argv) {
  int count = 0;
#ifdef LINKED
  int (*devices)(int *) = cudaGetDeviceCount;
  int (*launch)(void *, void *) = cudaGraphLaunch;
#else
  void *runtime = argc > 1 ? dlopen(argv[1], RTLD_NOW) : NULL;
  if (!runtime) return 1;
  int (*devices)(int *) = (int (*)(int *))dlsym(runtime, "cudaGetDeviceCount");
  int (*launch)(void *, void *) = (int (*)(void *, void *))dlsym(runtime, "cudaGraphLaunch");
#endif
  int answered = devices(&count);
  printf("%d devices (%d), launch %d\n", count, answered, launch(NULL, NULL));
  return argc < 0 || argv == NULL;
}
