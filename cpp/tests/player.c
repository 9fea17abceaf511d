// Calls kernels of a shared object on memory that another process prepared: what the Python tests
// need where they cannot load the object themselves, because it is for another kind of machine. See
// tests/support/kernels.py.
//
//   player KERNELS.so MEMORY SIZE < SCRIPT
//
// MEMORY is a file, mapped and changed. Each line of SCRIPT is a call: symbol, first task, one past
// the last, number of arguments, and for each argument its offset in MEMORY.
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { kMost = 16 };

// A function takes as many of its arguments from registers and stack as it has; more do no harm.
typedef void Kernel(int32_t lo, int32_t hi, void*, void*, void*, void*, void*, void*, void*, void*,
                    void*, void*, void*, void*, void*, void*, void*, void*);

static int fail(const char* what) {
  fprintf(stderr, "player: %s\n", what);
  return 1;
}

int main(int argc, char** argv) {
  if (argc != 4) return fail("KERNELS.so MEMORY SIZE");
  void* library = dlopen(argv[1], RTLD_NOW);
  if (library == NULL) return fail(dlerror());
  const int file = open(argv[2], O_RDWR);
  char* memory =
      mmap(NULL, strtoul(argv[3], NULL, 10), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (memory == MAP_FAILED) return fail("cannot map the memory");
  char symbol[128];
  int32_t lo, hi, count;
  while (scanf("%127s %d %d %d", symbol, &lo, &hi, &count) == 4) {
    void* a[kMost] = {0};
    if (count > kMost) return fail("too many arguments");
    for (int32_t i = 0; i < count; ++i) {
      long offset;
      if (scanf("%ld", &offset) != 1) return fail("an argument is missing");
      a[i] = memory + offset;
    }
    Kernel* kernel = (Kernel*)dlsym(library, symbol);
    if (kernel == NULL) return fail(dlerror());
    kernel(lo, hi, a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12],
           a[13], a[14], a[15]);
  }
  return 0;
}
