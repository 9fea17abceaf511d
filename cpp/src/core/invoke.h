// Calls a kernel, whose C signature depends on its number of arguments.
#ifndef SANDERLING_CORE_INVOKE_H_
#define SANDERLING_CORE_INVOKE_H_

#include <cstdint>

namespace sanderling {

// Does tasks lo ≤ t < hi of `kernel`, a `void (*)(int32_t, int32_t, void*…)` with as many pointers
// as the Invoke is for.
using Invoke = void (*)(void* kernel, int32_t lo, int32_t hi, void* const* args);

Invoke invoke_with(uint32_t arg_count);  // at most kMaxCallArgs

}  // namespace sanderling

#endif  // SANDERLING_CORE_INVOKE_H_
