#include "core/invoke.h"

#include <array>
#include <cstddef>
#include <utility>

#include "core/plan_format.h"

namespace sanderling {
namespace {

template <size_t>
using Pointer = void*;

template <size_t... I>
constexpr Invoke make_invoke(std::index_sequence<I...>) {
  return [](void* kernel, int32_t lo, int32_t hi, [[maybe_unused]] void* const* args) {
    reinterpret_cast<void (*)(int32_t, int32_t, Pointer<I>...)>(kernel)(lo, hi, args[I]...);
  };
}

template <size_t... Count>
constexpr std::array<Invoke, sizeof...(Count)> make_table(std::index_sequence<Count...>) {
  return {make_invoke(std::make_index_sequence<Count>())...};
}

constexpr auto kTable = make_table(std::make_index_sequence<kMaxCallArgs + 1>());

}  // namespace

Invoke invoke_with(uint32_t arg_count) { return kTable[arg_count]; }

}  // namespace sanderling
