#include "core/executor.h"

#include <algorithm>

namespace sanderling {
namespace {

bool uses_scratch(const ArgRecord* args, uint32_t count) {
  return std::any_of(args, args + count,
                     [](const ArgRecord& a) { return a.place == uint32_t(Place::kScratch); });
}

bool is_callers(const ArgRecord& arg) {
  return arg.place == uint32_t(Place::kInput) || arg.place == uint32_t(Place::kOutput);
}

// Null for callers' arrays, which bind() fills in.
void* address_of(const Plan& plan, const Addresses& addresses, const ArgRecord& arg,
                 uint32_t thread) {
  switch (static_cast<Place>(arg.place)) {
    case Place::kArena:
      return addresses.arena + plan.buffers()[arg.index].offset + arg.offset;
    case Place::kParams:
      return const_cast<uint8_t*>(addresses.params) + arg.offset;
    case Place::kScratch:
      return addresses.scratch + thread * addresses.scratch_stride + arg.offset;
    case Place::kInput:
    case Place::kOutput:
      break;
  }
  return nullptr;
}

}  // namespace

Result<Executor> Executor::prepare(const Plan& plan, void* const* kernels,
                                   const Addresses& addresses) {
  uint64_t slots = 0, caller_slots = 0;
  for (const CallRecord& call : plan.calls()) {
    const ArgRecord* args = plan.args().data + call.first_arg;
    const uint32_t copies = uses_scratch(args, call.arg_count) ? addresses.threads : 1;
    slots += uint64_t{copies} * call.arg_count;
    caller_slots += uint64_t{copies} * std::count_if(args, args + call.arg_count, is_callers);
  }
  Executor executor;
  Result<Array<PreparedCall>> calls = Array<PreparedCall>::allocate(plan.calls().count, "calls");
  Result<Array<void*>> bound = Array<void*>::allocate(slots, "call arguments");
  Result<Array<CallerArg>> callers = Array<CallerArg>::allocate(caller_slots, "call arguments");
  for (const Status* status : {&calls.status(), &bound.status(), &callers.status()}) {
    if (!status->ok()) return *status;
  }
  executor.calls_ = std::move(calls.value());
  executor.args_ = std::move(bound.value());
  executor.caller_args_ = std::move(callers.value());
  executor.inputs_ = plan.inputs();

  void** slot = executor.args_.data();
  CallerArg* caller = executor.caller_args_.data();
  for (uint32_t i = 0; i < plan.calls().count; ++i) {
    const CallRecord& call = plan.calls()[i];
    const ArgRecord* args = plan.args().data + call.first_arg;
    const bool per_thread = uses_scratch(args, call.arg_count);
    executor.calls_[i] = {
        invoke_with(call.arg_count),     kernels[call.kernel], slot,
        per_thread ? call.arg_count : 0, call.tasks,           std::min(call.grain, call.tasks)};
    for (uint32_t thread = 0; thread < (per_thread ? addresses.threads : 1); ++thread) {
      for (uint32_t a = 0; a < call.arg_count; ++a, ++slot) {
        *slot = address_of(plan, addresses, args[a], thread);
        if (is_callers(args[a])) *caller++ = {slot, args[a].index, args[a].offset};
      }
    }
  }
  return executor;
}

void Executor::bind(const void* const* inputs, void* const* outputs) {
  for (const CallerArg& arg : caller_args_) {
    const void* base = arg.tensor < inputs_ ? inputs[arg.tensor] : outputs[arg.tensor - inputs_];
    *arg.slot = static_cast<uint8_t*>(const_cast<void*>(base)) + arg.offset;
  }
}

void Executor::run_range(void* context, uint32_t lo, uint32_t hi, uint32_t thread) {
  const PreparedCall& call = *static_cast<const PreparedCall*>(context);
  call.invoke(call.kernel, int32_t(lo), int32_t(hi),
              call.args + uint64_t{thread} * call.args_stride);
}

sd_status Executor::run(const Parallel* parallel, const std::atomic<bool>& cancelled,
                        uint64_t (*now)(), uint64_t* nanoseconds) {
  uint64_t before = now != nullptr ? now() : 0;
  for (PreparedCall& call : calls_) {
    if (cancelled.load(std::memory_order_relaxed)) return SD_CANCELLED;
    if (parallel == nullptr || call.tasks <= call.grain) {
      call.invoke(call.kernel, 0, int32_t(call.tasks), call.args);
    } else {
      parallel->run(parallel->self, call.tasks, call.grain, run_range, &call);
    }
    if (now != nullptr) {
      const uint64_t after = now();
      *nanoseconds++ = after - before;
      before = after;
    }
  }
  return SD_OK;
}

}  // namespace sanderling
