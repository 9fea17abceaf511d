// Buffers that live at the same time lie apart in the arena. A sweep over the calls: O(n log n) for
// any plan.
#include <algorithm>

#include "core/plan.h"
#include "core/rank_set.h"

namespace sanderling {
namespace {

Status check_each(const Plan& plan) {
  const uint64_t arena = plan.header().arena_bytes;
  for (uint32_t i = 0; i < plan.buffers().count; ++i) {
    const BufferRecord& buffer = plan.buffers()[i];
    if (buffer.size == 0) return bad("buffer %u has no byte", i);
    if (!fits(buffer.offset, buffer.size, arena)) {
      return bad("buffer %u (%lu bytes at %lu) lies outside the arena (%lu bytes)", i, buffer.size,
                 buffer.offset, arena);
    }
    if (buffer.offset % 64 != 0)
      return bad("buffer %u: offset %lu is no multiple of 64", i, buffer.offset);
    if (buffer.first_call > buffer.last_call || buffer.last_call >= plan.calls().count) {
      return bad("buffer %u is in use from call %u to %u of %u", i, buffer.first_call,
                 buffer.last_call, plan.calls().count);
    }
  }
  return {};
}

// Indices of all buffers in ascending order of `key`.
template <typename Key>
Result<Array<uint32_t>> sorted(Records<BufferRecord> buffers, Key key) {
  Result<Array<uint32_t>> order = Array<uint32_t>::allocate(buffers.count, "buffer order");
  if (!order.ok()) return order;
  for (uint32_t i = 0; i < buffers.count; ++i) order.value()[i] = i;
  std::sort(order->begin(), order->end(), [&](uint32_t a, uint32_t b) {
    return std::make_pair(key(buffers[a]), a) < std::make_pair(key(buffers[b]), b);
  });
  return order;
}

}  // namespace

Status check_buffers(const Plan& plan) {
  SD_TRY(check_each(plan));
  const Records<BufferRecord> buffers = plan.buffers();
  Result<Array<uint32_t>> by_offset =
      sorted(buffers, [](const BufferRecord& b) { return b.offset; });
  Result<Array<uint32_t>> by_first =
      sorted(buffers, [](const BufferRecord& b) { return b.first_call; });
  Result<Array<uint32_t>> by_last =
      sorted(buffers, [](const BufferRecord& b) { return b.last_call; });
  Result<Array<uint32_t>> ranks = Array<uint32_t>::allocate(buffers.count, "buffer order");
  for (const Status* status :
       {&by_offset.status(), &by_first.status(), &by_last.status(), &ranks.status()}) {
    if (!status->ok()) return *status;
  }
  for (uint32_t rank = 0; rank < buffers.count; ++rank)
    ranks.value()[by_offset.value()[rank]] = rank;

  Result<Array<RankSet>> set =
      Array<RankSet>::allocate(1, "buffer sweep");  // 8 KiB: too much for small stacks
  if (!set.ok()) return set.status();
  RankSet& alive = set.value()[0];  // those in use are disjoint, so only neighbours can clash
  uint32_t ended = 0;
  for (uint32_t i = 0; i < buffers.count; ++i) {
    const uint32_t index = by_first.value()[i];
    const BufferRecord& buffer = buffers[index];
    for (; buffers[by_last.value()[ended]].last_call < buffer.first_call; ++ended) {
      alive.erase(ranks.value()[by_last.value()[ended]]);
    }
    const uint32_t rank = ranks.value()[index];
    for (const uint32_t neighbour : {alive.before(rank), alive.after(rank)}) {
      if (neighbour == RankSet::kNoRank) continue;
      const uint32_t other = by_offset.value()[neighbour];
      if (overlap(buffer.offset, buffer.size, buffers[other].offset, buffers[other].size)) {
        return bad("buffers %u and %u overlap in the arena and are both in use at call %u",
                   std::min(index, other), std::max(index, other), buffer.first_call);
      }
    }
    alive.insert(rank);
  }
  return {};
}

}  // namespace sanderling
