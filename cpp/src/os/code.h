// Compiled kernels: from bytes of a package to callable addresses.
#ifndef SANDERLING_OS_CODE_H_
#define SANDERLING_OS_CODE_H_

#include "core/plan.h"

namespace sanderling {

class LoadedCode {
 public:
  LoadedCode() = default;
  LoadedCode(LoadedCode&& other) noexcept { *this = std::move(other); }
  LoadedCode& operator=(LoadedCode&& other) noexcept {
    std::swap(handle_, other.handle_);
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~LoadedCode();

  // Copies `code` to a file in memory (or to a nameless temporary file where the kernel refuses
  // that), checks the copy (digest, ELF structure) and then loads it: what was checked is what
  // runs, whatever happens to the package meanwhile.
  static Result<LoadedCode> load(Bytes code, const Digest& digest, Arch arch);

  // Null if there is no such symbol.
  void* find(const char* symbol) const;

 private:
  void* handle_ = nullptr;
  int fd_ = -1;
};

}  // namespace sanderling

#endif  // SANDERLING_OS_CODE_H_
