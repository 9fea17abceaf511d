// Any bytes as plan.bin, with a size and digest that fit, so that the fuzzer gets past them. A plan
// that is accepted must be usable: its strings readable, its arguments bindable.
#include "builder.h"
#include "core/executor.h"
#include "core/pipeline.h"
#include "mutate.h"
#include "seeds.h"

using namespace sanderling;

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  write_seeds(*argc, *argv,
              {builder::small_plan().bytes(), builder::detector_plan().bytes(),
               builder::bounded_plan().bytes()});
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  return mutate(data, size, most, seed);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  builder::Blob bytes(data, data + size);
  repair_plan(&bytes);
  Result<Plan> plan = Plan::read(builder::view(bytes));
  if (!plan.ok()) return 0;

  size_t length = std::strlen(plan->text(plan->target().name));
  for (const StringRef& label : plan->labels()) length += std::strlen(plan->text(label));
  for (const CallRecord& call : plan->calls()) length += std::strlen(plan->text(call.node));
  if (plan->pipeline() != nullptr) {
    Result<Pipeline> pipeline = resolve_pipeline(plan.value());
    if (!pipeline.ok()) __builtin_trap();
    for (uint32_t i = 0; i < pipeline->level_count; ++i)
      resolve_level(plan.value(), pipeline.value(), i);
  }
  // Addresses that nobody follows.
  auto* base = reinterpret_cast<uint8_t*>(uintptr_t{1} << 40);
  std::vector<void*> kernels(plan->kernels().count);
  std::vector<const void*> inputs(plan->inputs(), base);
  std::vector<void*> outputs(plan->outputs(), base);
  Result<Executor> executor =
      Executor::prepare(plan.value(), kernels.data(), {base, base, 64, base, 3});
  if (executor.ok()) executor->bind(inputs.data(), outputs.data());
  return length == SIZE_MAX;
}
