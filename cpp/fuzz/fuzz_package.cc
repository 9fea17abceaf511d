// Any bytes as a package: opened, listed and verified, as `inspect` and `verify` do. Nothing is
// loaded.
#include <sys/mman.h>
#include <unistd.h>

#include "builder.h"
#include "mutate.h"
#include "seeds.h"

namespace {

// Small, so that mutations hit what matters: a package without the padding to 64 KiB that kernels
// and parameters would bring, and whole ones of two models.
std::vector<builder::Blob> seeds() {
  const builder::Archive whole = builder::package(builder::small_plan());
  builder::Archive small = whole;
  small.entries.resize(2);
  builder::Archive other = small;
  for (builder::Entry& entry : other.entries) entry.name += "x";
  return {small.bytes(), other.bytes(), whole.bytes(),
          builder::package(builder::detector_plan()).bytes()};
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  write_seeds(*argc, *argv, seeds());
  return 0;
}

// One mutation in eight keeps its wrong checksums.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  size = mutate(data, size, most, seed);
  if (seed % 8 == 0) return size;
  builder::Blob bytes(data, data + size);
  repair_package(&bytes);
  std::copy(bytes.begin(), bytes.end(), data);
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const int fd = memfd_create("fuzz", MFD_CLOEXEC);
  if (fd < 0 || write(fd, data, size) != ssize_t(size)) __builtin_trap();
  sd_package* package = nullptr;
  sd_error error;
  const sd_status status = sd_package_open_fd(fd, &package, &error);
  close(fd);
  if ((status == SD_OK) != (package != nullptr)) __builtin_trap();
  if (package == nullptr) return 0;
  for (size_t i = 0; i < sd_package_entry_count(package); ++i) {
    sd_entry_info info;
    const void* contents = nullptr;
    uint64_t length = 0;
    if (sd_package_entry(package, i, &info, &error) != SD_OK) __builtin_trap();
    if (sd_package_read(package, info.name, &contents, &length, &error) != SD_OK) __builtin_trap();
    if (info.offset > size || info.size > size - info.offset || length != info.size)
      __builtin_trap();
  }
  (void)sd_package_verify(package, &error);
  sd_package_close(package);
  return 0;
}
