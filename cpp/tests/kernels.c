/* Kernels of the test packages, as the kernel ABI has them. Built with -nostdlib. */
#include <stdint.h>

#define LANES 8

/* out[t] = in[t] · p[0] + p[1], eight floats a task. */
void scale(int32_t lo, int32_t hi, const float* in, const float* p, float* out) {
  for (int32_t i = lo * LANES; i < hi * LANES; ++i) out[i] = in[i] * p[0] + p[1];
}

/* out[t] = in[t] reversed within its task, by way of scratch. */
void reverse(int32_t lo, int32_t hi, const float* in, float* scratch, float* out) {
  for (int32_t t = lo; t < hi; ++t) {
    for (int32_t i = 0; i < LANES; ++i) scratch[i] = in[t * LANES + i];
    for (int32_t i = 0; i < LANES; ++i) out[t * LANES + i] = scratch[LANES - 1 - i];
  }
}

void copy(int32_t lo, int32_t hi, const float* in, float* out) {
  for (int32_t i = lo * LANES; i < hi * LANES; ++i) out[i] = in[i];
}

/* Spins long enough that another thread can cancel the run. */
void slow(int32_t lo, int32_t hi, const float* in, float* out) {
  for (int32_t t = lo; t < hi; ++t) {
    volatile uint32_t work = 0;
    while (work < 3000000) work = work + 1;
    for (int32_t i = t * LANES; i < (t + 1) * LANES; ++i) out[i] = in[i];
  }
}

/* The most arguments that a kernel can have: its last one becomes the sum of the others. */
void widest(int32_t lo, int32_t hi, const float* a0, const float* a1, const float* a2,
            const float* a3, const float* a4, const float* a5, const float* a6, const float* a7,
            const float* a8, const float* a9, const float* a10, const float* a11, const float* a12,
            const float* a13, const float* a14, const float* a15, const float* a16,
            const float* a17, const float* a18, const float* a19, const float* a20,
            const float* a21, const float* a22, float* out) {
  const float* const in[] = {a0,  a1,  a2,  a3,  a4,  a5,  a6,  a7,  a8,  a9,  a10, a11,
                             a12, a13, a14, a15, a16, a17, a18, a19, a20, a21, a22};
  for (int32_t i = lo * LANES; i < hi * LANES; ++i) {
    float sum = 0;
    for (int32_t j = 0; j < 23; ++j) sum += in[j][i];
    out[i] = sum;
  }
}

/* A count that the data decides: the first number of the input. One task. */
void count(int32_t lo, int32_t hi, const float* in, int64_t* out) {
  if (lo < hi) out[0] = (int64_t)in[0];
}

/* No argument at all. */
void nothing(int32_t lo, int32_t hi) {
  (void)lo;
  (void)hi;
}
