// A plan with every argument bound to its final address: one flat array of calls that runs without
// looking anything up.
#ifndef SANDERLING_CORE_EXECUTOR_H_
#define SANDERLING_CORE_EXECUTOR_H_

#include <atomic>

#include "core/invoke.h"
#include "core/memory.h"
#include "core/plan.h"

namespace sanderling {

// Whoever can spread tasks over threads. `body` gets disjoint ranges that cover 0…tasks−1 and the
// number of the thread it runs on (below `threads`); run() returns when all are done.
struct Parallel {
  using Body = void (*)(void* context, uint32_t lo, uint32_t hi, uint32_t thread);
  void* self;
  void (*run)(void* self, uint32_t tasks, uint32_t grain, Body body, void* context);
};

// Where a session's memory begins; each at a multiple of 64.
struct Addresses {
  uint8_t* arena;
  uint8_t* scratch;  // slices of `scratch_stride` bytes, one per thread
  uint64_t scratch_stride;
  const uint8_t* params;
  uint32_t threads;
};

class Executor {
 public:
  // kernels[i] is the address of kernel i of the plan. All of it must outlive the executor.
  static Result<Executor> prepare(const Plan& plan, void* const* kernels,
                                  const Addresses& addresses);

  // Sets the callers' arrays for the next runs: inputs, then outputs, in the order of the plan's
  // tensors.
  void bind(const void* const* inputs, void* const* outputs);

  // Runs all calls, on the caller's thread alone if `parallel` is null. `now` may be null; if not,
  // nanoseconds[i] becomes the time that call i took. Returns SD_OK, or SD_CANCELLED when
  // `cancelled` was seen between two calls.
  sd_status run(const Parallel* parallel, const std::atomic<bool>& cancelled, uint64_t (*now)(),
                uint64_t* nanoseconds);

 private:
  struct PreparedCall {
    Invoke invoke;
    void* kernel;
    void** args;           // of thread 0; those of thread t begin t · args_stride further
    uint32_t args_stride;  // 0 if all threads have the same
    uint32_t tasks, grain;
  };
  struct CallerArg {
    void** slot;
    uint32_t tensor;
    uint64_t offset;
  };

  static void run_range(void* call, uint32_t lo, uint32_t hi, uint32_t thread);

  Array<PreparedCall> calls_;
  Array<void*> args_;
  Array<CallerArg> caller_args_;
  uint32_t inputs_ = 0;
};

}  // namespace sanderling

#endif  // SANDERLING_CORE_EXECUTOR_H_
