#include <doctest/doctest.h>

#include <random>

#include "builder.h"
#include "core/crc32.h"
#include "core/sha256.h"

using namespace sanderling;

namespace {

Bytes text(const char* characters) {
  return {reinterpret_cast<const uint8_t*>(characters), std::strlen(characters)};
}

std::string hex(const Digest& digest) {
  std::string result;
  for (const uint8_t byte : digest.bytes) {
    char two[3];
    snprintf(two, sizeof(two), "%02x", byte);
    result += two;
  }
  return result;
}

Digest hash(Sha256::Compress compress, const builder::Blob& bytes, size_t piece) {
  Sha256 hash(compress);
  for (size_t at = 0; at < bytes.size(); at += piece) {
    hash.update({bytes.data() + at, std::min(piece, bytes.size() - at)});
  }
  return hash.finish();
}

}  // namespace

TEST_CASE("CRC-32 gives the known values") {
  CHECK(crc32(text("")) == 0);
  CHECK(crc32(text("123456789")) ==
        0xCBF43926);  // the check value of the catalogue of CRC algorithms
  CHECK(crc32(text("The quick brown fox jumps over the lazy dog")) == 0x414FA339);
}

TEST_CASE("SHA-256 gives the examples of FIPS 180-4") {
  for (const Sha256::Compress compress : {Sha256::portable(), Sha256::fastest()}) {
    const auto of = [&](const char* characters) {
      Sha256 hash(compress);
      hash.update(text(characters));
      return hex(hash.finish());
    };
    CHECK(of("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(of("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    Sha256 million(compress);
    const builder::Blob piece(1000, 'a');
    for (int i = 0; i < 1000; ++i) million.update(builder::view(piece));
    CHECK(hex(million.finish()) ==
          "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  }
}

TEST_CASE("SHA-256 is the same with and without the CPU's instructions, in pieces of any size") {
  std::mt19937 random(1);
  for (size_t size = 0; size < 300; ++size) {
    builder::Blob bytes(size);
    for (uint8_t& byte : bytes) byte = uint8_t(random());
    const Digest whole = hash(Sha256::portable(), bytes, SIZE_MAX);
    for (const size_t piece : {size_t{1}, size_t{7}, size_t{64}, size_t{65}}) {
      CHECK(hash(Sha256::portable(), bytes, piece) == whole);
      if (Sha256::hardware() != nullptr) CHECK(hash(Sha256::hardware(), bytes, piece) == whole);
    }
  }
}
