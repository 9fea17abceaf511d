#include "core/sha256.h"

#include <algorithm>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#include <sys/auxv.h>
#endif

namespace sanderling {
namespace {

alignas(64) constexpr uint32_t kRounds[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

constexpr uint32_t rotate(uint32_t x, int n) { return (x >> n) | (x << (32 - n)); }

void compress_portable(uint32_t state[8], const uint8_t* blocks, uint64_t count) {
  for (; count > 0; --count, blocks += 64) {
    uint32_t w[64];
    for (int i = 0; i < 16; ++i) w[i] = __builtin_bswap32(load<uint32_t>(blocks + 4 * i));
    for (int i = 16; i < 64; ++i) {
      const uint32_t s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ (w[i - 15] >> 3);
      const uint32_t s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ (w[i - 2] >> 10);
      w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    // The eight working variables stay where they are; their roles move on by one each round.
    uint32_t v[8];
    std::copy(state, state + 8, v);
    for (int i = 0; i < 64; i += 8) {
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) {
        const auto role = [&](int k) -> uint32_t& { return v[(k - j) & 7]; };
        const uint32_t e = role(4), a = role(0);
        const uint32_t s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
        const uint32_t t1 =
            role(7) + s1 + ((e & role(5)) ^ (~e & role(6))) + kRounds[i + j] + w[i + j];
        const uint32_t s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
        const uint32_t t2 = s0 + ((a & role(1)) ^ (a & role(2)) ^ (role(1) & role(2)));
        role(3) += t1;
        role(7) = t1 + t2;
      }
    }
    for (int i = 0; i < 8; ++i) state[i] += v[i];
  }
}

#if defined(__x86_64__)

bool has_sha_instructions() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (b & (1U << 29)) == 0) return false;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_SSE4_1) != 0 && (c & bit_SSSE3) != 0;
}

// The state is held as the instructions want it: ABEF and CDGH.
__attribute__((target("sha,sse4.1,ssse3"))) void compress_hardware(uint32_t state[8],
                                                                   const uint8_t* blocks,
                                                                   uint64_t count) {
  const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
  __m128i abcd = _mm_loadu_si128(reinterpret_cast<const __m128i*>(state));
  __m128i efgh = _mm_loadu_si128(reinterpret_cast<const __m128i*>(state + 4));
  abcd = _mm_shuffle_epi32(abcd, 0xB1);
  efgh = _mm_shuffle_epi32(efgh, 0x1B);
  __m128i abef = _mm_alignr_epi8(abcd, efgh, 8);
  __m128i cdgh = _mm_blend_epi16(efgh, abcd, 0xF0);

  for (; count > 0; --count, blocks += 64) {
    const __m128i abef_before = abef;
    const __m128i cdgh_before = cdgh;
    __m128i w[4];
    for (int i = 0; i < 16; ++i) {
      __m128i& current = w[i % 4];
      if (i < 4) {
        current = _mm_loadu_si128(reinterpret_cast<const __m128i*>(blocks + 16 * i));
        current = _mm_shuffle_epi8(current, big_endian);
      } else {
        const __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(current, w[(i + 1) % 4]),
                                          _mm_alignr_epi8(w[(i + 3) % 4], w[(i + 2) % 4], 4));
        current = _mm_sha256msg2_epu32(sum, w[(i + 3) % 4]);
      }
      const __m128i rounds =
          _mm_add_epi32(current, _mm_load_si128(reinterpret_cast<const __m128i*>(kRounds + 4 * i)));
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, rounds);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(rounds, 0x0E));
    }
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }

  abef = _mm_shuffle_epi32(abef, 0x1B);
  cdgh = _mm_shuffle_epi32(cdgh, 0xB1);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(state), _mm_blend_epi16(abef, cdgh, 0xF0));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(state + 4), _mm_alignr_epi8(cdgh, abef, 8));
}

#elif defined(__aarch64__)

bool has_sha_instructions() { return (getauxval(AT_HWCAP) & HWCAP_SHA2) != 0; }

__attribute__((target("+crypto"))) void compress_hardware(uint32_t state[8], const uint8_t* blocks,
                                                          uint64_t count) {
  uint32x4_t abcd = vld1q_u32(state);
  uint32x4_t efgh = vld1q_u32(state + 4);
  for (; count > 0; --count, blocks += 64) {
    const uint32x4_t abcd_before = abcd;
    const uint32x4_t efgh_before = efgh;
    uint32x4_t w[4];
    for (int i = 0; i < 16; ++i) {
      uint32x4_t& current = w[i % 4];
      current = i < 4 ? vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(blocks + 16 * i)))
                      : vsha256su1q_u32(vsha256su0q_u32(current, w[(i + 1) % 4]), w[(i + 2) % 4],
                                        w[(i + 3) % 4]);
      const uint32x4_t rounds = vaddq_u32(current, vld1q_u32(kRounds + 4 * i));
      const uint32x4_t before = abcd;
      abcd = vsha256hq_u32(abcd, efgh, rounds);
      efgh = vsha256h2q_u32(efgh, before, rounds);
    }
    abcd = vaddq_u32(abcd, abcd_before);
    efgh = vaddq_u32(efgh, efgh_before);
  }
  vst1q_u32(state, abcd);
  vst1q_u32(state + 4, efgh);
}

#endif

}  // namespace

Sha256::Compress Sha256::portable() { return compress_portable; }

Sha256::Compress Sha256::hardware() { return has_sha_instructions() ? compress_hardware : nullptr; }

Sha256::Compress Sha256::fastest() {
  const Compress hardware = Sha256::hardware();
  return hardware != nullptr ? hardware : portable();
}

void Sha256::update(Bytes bytes) {
  const uint8_t* at = bytes.data;
  uint64_t left = bytes.size;
  if (left == 0) return;
  const uint64_t held = length_ % 64;
  length_ += left;
  if (held != 0) {
    const uint64_t taken = std::min<uint64_t>(left, 64 - held);
    std::memcpy(block_ + held, at, taken);
    if (held + taken < 64) return;
    compress_(state_, block_, 1);
    at += taken;
    left -= taken;
  }
  compress_(state_, at, left / 64);
  if (left % 64 != 0) std::memcpy(block_, at + left / 64 * 64, left % 64);
}

Digest Sha256::finish() {
  const uint64_t bits = __builtin_bswap64(length_ * 8);
  static constexpr uint8_t kPadding[64] = {0x80};
  update({kPadding, 64 - (length_ + 8) % 64});
  update({reinterpret_cast<const uint8_t*>(&bits), 8});
  Digest digest;
  for (int i = 0; i < 8; ++i) {
    const uint32_t word = __builtin_bswap32(state_[i]);
    std::memcpy(digest.bytes + 4 * i, &word, 4);
  }
  return digest;
}

Digest sha256(Bytes bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.finish();
}

}  // namespace sanderling
