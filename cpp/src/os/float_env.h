// IEEE arithmetic for kernels: other code in the process may have set flush-to-zero or another
// rounding mode on the calling thread, and results must not depend on the thread that computes
// them.
#ifndef SANDERLING_OS_FLOAT_ENV_H_
#define SANDERLING_OS_FLOAT_ENV_H_

#include <cstdint>

namespace sanderling {

#if defined(__x86_64__)
using FloatControl = uint32_t;
inline constexpr FloatControl kDefaultFloatControl =
    0x1F80;  // MXCSR: all exceptions masked, round to nearest
inline FloatControl float_control() { return __builtin_ia32_stmxcsr(); }
inline void set_float_control(FloatControl value) { __builtin_ia32_ldmxcsr(value); }
#else
using FloatControl = uint64_t;
inline constexpr FloatControl kDefaultFloatControl = 0;  // FPCR
inline FloatControl float_control() {
  FloatControl value;
  asm volatile("mrs %0, fpcr" : "=r"(value));
  return value;
}
inline void set_float_control(FloatControl value) { asm volatile("msr fpcr, %0" : : "r"(value)); }
#endif

// Sets the default for a scope on this thread.
class DefaultFloatEnv {
 public:
  DefaultFloatEnv() { set_float_control(kDefaultFloatControl); }
  ~DefaultFloatEnv() { set_float_control(before_); }
  DefaultFloatEnv(const DefaultFloatEnv&) = delete;
  DefaultFloatEnv& operator=(const DefaultFloatEnv&) = delete;

 private:
  FloatControl before_ = float_control();
};

}  // namespace sanderling

#endif  // SANDERLING_OS_FLOAT_ENV_H_
