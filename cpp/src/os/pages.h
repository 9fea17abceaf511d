// Memory straight from the kernel: page-aligned, zeroed, and free of charge until it is touched.
#ifndef SANDERLING_OS_PAGES_H_
#define SANDERLING_OS_PAGES_H_

#include <sys/mman.h>

#include "core/memory.h"

namespace sanderling {

class Pages {
 public:
  Pages() = default;
  Pages(Pages&& other) noexcept { *this = std::move(other); }
  Pages& operator=(Pages&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Pages() {
    if (data_ != nullptr) munmap(data_, size_);
  }

  static Result<Pages> allocate(uint64_t size, const char* what) {
    Pages pages;
    if (size == 0) return pages;
    void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return out_of_memory(size, what);
    pages.data_ = static_cast<uint8_t*>(memory);
    pages.size_ = size;
    return pages;
  }

  uint8_t* data() const { return data_; }
  uint64_t size() const { return size_; }

 private:
  uint8_t* data_ = nullptr;
  uint64_t size_ = 0;
};

}  // namespace sanderling

#endif  // SANDERLING_OS_PAGES_H_
