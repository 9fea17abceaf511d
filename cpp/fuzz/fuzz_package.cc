// Any bytes as a package: opened, listed and verified, as `inspect` and `verify` do. Nothing is
// loaded.
#include <sys/mman.h>
#include <unistd.h>

#include "builder.h"
#include "seeds.h"

namespace {

// Without the padding to 64 KiB, which would fill the corpus: kernels and parameters keep their
// names only in a seed of its own.
std::vector<builder::Blob> seeds() {
  builder::Archive whole = builder::package(builder::small_plan());
  builder::Archive small = whole;
  small.entries.resize(2);
  builder::Archive other = small;
  for (builder::Entry& entry : other.entries) entry.name += "x";
  return {whole.bytes(), small.bytes(), other.bytes()};
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  write_seeds(*argc, *argv, seeds());
  return 0;
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
