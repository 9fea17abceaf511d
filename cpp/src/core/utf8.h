// UTF-8 as RFC 3629 has it: shortest forms only, no surrogates, nothing above U+10FFFF.
#ifndef SANDERLING_CORE_UTF8_H_
#define SANDERLING_CORE_UTF8_H_

#include <cstdint>

namespace sanderling {

// Bytes of the well-formed sequence that begins at `at`; 0 if none does within `left` bytes.
inline uint32_t utf8_sequence(const uint8_t* at, uint64_t left) {
  if (left == 0) return 0;
  const uint8_t lead = at[0];
  if (lead < 0x80) return 1;
  if (lead < 0xC2 || lead > 0xF4) return 0;
  const uint32_t size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (left < size) return 0;
  // What the second byte may be depends on the first (RFC 3629, section 4).
  const uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (at[1] < low || at[1] > high) return 0;
  for (uint32_t i = 2; i < size; ++i) {
    if ((at[i] & 0xC0) != 0x80) return 0;
  }
  return size;
}

inline bool is_utf8(const uint8_t* at, uint64_t size) {
  while (size > 0) {
    const uint32_t step = utf8_sequence(at, size);
    if (step == 0) return false;
    at += step;
    size -= step;
  }
  return true;
}

}  // namespace sanderling

#endif  // SANDERLING_CORE_UTF8_H_
