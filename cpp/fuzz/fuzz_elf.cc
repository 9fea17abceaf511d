// Any bytes as kernels.so.
#include "builder.h"
#include "core/elf.h"
#include "seeds.h"

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  write_seeds(*argc, *argv, {builder::kernels()});
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const builder::Blob bytes(data, data + size);
  (void)sanderling::check_elf(builder::view(bytes), sanderling::Arch::kX86_64);
  (void)sanderling::check_elf(builder::view(bytes), sanderling::Arch::kAArch64);
  return 0;
}
