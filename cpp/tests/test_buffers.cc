// The sweep over buffers against the obvious test of every pair.
#include <doctest/doctest.h>

#include <memory>
#include <random>
#include <set>

#include "builder.h"
#include "core/plan.h"
#include "core/rank_set.h"

using namespace builder;
using namespace sanderling;

namespace {

// As many calls as it takes, all without arguments that matter.
PlanParts plan_with(const std::vector<BufferRecord>& buffers, uint32_t calls) {
  PlanParts plan = small_plan();
  plan.calls.clear();
  plan.args.clear();
  plan.buffers = buffers;
  plan.arena_bytes = 64 * 64;
  plan.call(2, 1, {caller(Place::kOutput, 1, 128)});
  while (plan.calls.size() < calls) plan.call(2, 1, {});
  return plan;
}

bool clash(const BufferRecord& a, const BufferRecord& b) {
  return a.first_call <= b.last_call && b.first_call <= a.last_call &&
         a.offset < b.offset + b.size && b.offset < a.offset + a.size;
}

}  // namespace

TEST_CASE("buffers are refused exactly when two of them share a byte and a call") {
  std::mt19937 random(7);
  int refused = 0, accepted = 0;
  for (int round = 0; round < 3000; ++round) {
    const uint32_t calls = 1 + random() % 12;
    std::vector<BufferRecord> buffers(1 + random() % 8);
    for (BufferRecord& buffer : buffers) {
      buffer.offset = random() % 32 * 64;
      buffer.size = 1 + random() % 256;
      buffer.first_call = random() % calls;
      buffer.last_call = buffer.first_call + random() % std::min(3U, calls - buffer.first_call);
    }
    bool expected = false;
    for (size_t i = 0; i < buffers.size(); ++i) {
      for (size_t j = 0; j < i; ++j) expected = expected || clash(buffers[i], buffers[j]);
    }
    const Blob bytes = plan_with(buffers, calls).bytes();
    const Result<Plan> read = Plan::read(view(bytes));
    INFO(std::string(read.status().message()));
    REQUIRE(read.ok() == !expected);
    (expected ? refused : accepted) += 1;
  }
  CHECK(refused > 300);
  CHECK(accepted > 300);
}

TEST_CASE("a rank set finds the neighbours that a sorted set finds") {
  auto set = std::make_unique<RankSet>();
  std::memset(static_cast<void*>(set.get()), 0, sizeof(RankSet));
  std::set<uint32_t> reference;
  std::mt19937 random(3);
  for (int step = 0; step < 20000; ++step) {
    // Dense around a few places, so that neighbours lie in the same word, the next one and far
    // away.
    const uint32_t rank = random() % 2 != 0 ? random() % RankSet::kCapacity : 4032 + random() % 130;
    if (random() % 2 != 0) {
      set->insert(rank), reference.insert(rank);
    } else if (reference.erase(rank) != 0) {
      set->erase(rank);
    }
    const uint32_t probe = random() % 3 != 0 ? rank : random() % RankSet::kCapacity;
    const auto at = reference.lower_bound(probe);
    const auto above = reference.upper_bound(probe);
    CHECK(set->before(probe) == (at == reference.begin() ? RankSet::kNoRank : *std::prev(at)));
    CHECK(set->after(probe) == (above == reference.end() ? RankSet::kNoRank : *above));
  }
}
