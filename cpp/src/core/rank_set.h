// A set of ranks 0…65,535 that finds the neighbours of a rank in constant time: a bitmap of 64-ary
// levels.
#ifndef SANDERLING_CORE_RANK_SET_H_
#define SANDERLING_CORE_RANK_SET_H_

#include <cstdint>

namespace sanderling {

// Zero bytes are the empty set.
class RankSet {
 public:
  static constexpr uint32_t kCapacity = 65536;
  static constexpr uint32_t kNoRank = 0xFFFFFFFF;

  void insert(uint32_t rank) {
    for (int level = 0; level < kLevels; ++level, rank /= 64) word(level, rank / 64) |= bit(rank);
  }

  void erase(uint32_t rank) {
    for (int level = 0; level < kLevels; ++level, rank /= 64) {
      word(level, rank / 64) &= ~bit(rank);
      if (word(level, rank / 64) != 0) return;
    }
  }

  // The largest rank in the set below `rank`, or kNoRank.
  uint32_t before(uint32_t rank) const {
    for (int level = 0; level < kLevels; ++level, rank /= 64) {
      const uint64_t below = word(level, rank / 64) & (bit(rank) - 1);
      if (below == 0) continue;
      uint32_t found = rank / 64 * 64 + 63 - __builtin_clzll(below);
      while (level-- > 0) found = found * 64 + 63 - __builtin_clzll(word(level, found));
      return found;
    }
    return kNoRank;
  }

  // The smallest rank in the set above `rank`, or kNoRank.
  uint32_t after(uint32_t rank) const {
    for (int level = 0; level < kLevels; ++level, rank /= 64) {
      const uint64_t above = word(level, rank / 64) & ~(bit(rank) | (bit(rank) - 1));
      if (above == 0) continue;
      uint32_t found = rank / 64 * 64 + __builtin_ctzll(above);
      while (level-- > 0) found = found * 64 + __builtin_ctzll(word(level, found));
      return found;
    }
    return kNoRank;
  }

 private:
  static constexpr int kLevels = 3;
  // Where the words of each level begin: 1,024, then 16, then 1. A bit of one level says whether a
  // word below is not 0.
  static constexpr uint32_t kStart[kLevels] = {0, 1024, 1040};

  static constexpr uint64_t bit(uint32_t rank) { return uint64_t{1} << (rank % 64); }
  uint64_t& word(int level, uint32_t index) { return words_[kStart[level] + index]; }
  const uint64_t& word(int level, uint32_t index) const { return words_[kStart[level] + index]; }

  uint64_t words_[1041];
};

}  // namespace sanderling

#endif  // SANDERLING_CORE_RANK_SET_H_
