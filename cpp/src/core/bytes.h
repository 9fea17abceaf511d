// Untrusted bytes: a view, little-endian loads, and the one test of whether a range lies inside
// another.
#ifndef SANDERLING_CORE_BYTES_H_
#define SANDERLING_CORE_BYTES_H_

#include <cstdint>
#include <cstring>

namespace sanderling {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files and host are both little-endian");

struct Bytes {
  const uint8_t* data = nullptr;
  uint64_t size = 0;
};

template <typename T>
T load(const uint8_t* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

// Whether [offset, offset + size) lies inside [0, limit). By subtraction: no sum can overflow.
constexpr bool fits(uint64_t offset, uint64_t size, uint64_t limit) {
  return offset <= limit && size <= limit - offset;
}

// Whether two ranges that each fit somewhere (so their ends do not overflow) have a byte in common.
constexpr bool overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size) {
  return a < b + b_size && b < a + a_size;
}

// False if the product does not fit in 64 bits.
inline bool multiply(uint64_t a, uint64_t b, uint64_t* product) {
  return !__builtin_mul_overflow(a, b, product);
}

// `value` must leave room for the rounding.
constexpr uint64_t round_up(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

}  // namespace sanderling

#endif  // SANDERLING_CORE_BYTES_H_
