// SHA-256 (FIPS 180-4), with the CPU's SHA instructions where it has them.
#ifndef SANDERLING_CORE_SHA256_H_
#define SANDERLING_CORE_SHA256_H_

#include "core/bytes.h"

namespace sanderling {

struct Digest {
  uint8_t bytes[32];
};

inline bool operator==(const Digest& a, const Digest& b) {
  return std::memcmp(a.bytes, b.bytes, 32) == 0;
}
inline bool operator!=(const Digest& a, const Digest& b) { return !(a == b); }

class Sha256 {
 public:
  // Advances the state by whole blocks of 64 bytes.
  using Compress = void (*)(uint32_t state[8], const uint8_t* blocks, uint64_t count);

  Sha256() : Sha256(fastest()) {}
  explicit Sha256(Compress compress) : compress_(compress) {}

  void update(Bytes bytes);
  Digest finish();

  static Compress fastest();  // for this CPU
  static Compress portable();
  static Compress hardware();  // null if this CPU has none

 private:
  Compress compress_;
  uint32_t state_[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  uint8_t block_[64];
  uint64_t length_ = 0;
};

Digest sha256(Bytes bytes);

}  // namespace sanderling

#endif  // SANDERLING_CORE_SHA256_H_
