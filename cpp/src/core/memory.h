// Owned memory without exceptions: every allocation may fail, and says so. On malloc, so that the
// library needs no C++ runtime library.
#ifndef SANDERLING_CORE_MEMORY_H_
#define SANDERLING_CORE_MEMORY_H_

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>

#include "core/status.h"

namespace sanderling {

inline Status out_of_memory(uint64_t bytes, const char* what) {
  return Status::error(SD_OUT_OF_MEMORY, "no memory for %lu bytes of %s", bytes, what);
}

// A fixed number of trivial elements, zeroed.
template <typename T>
class Array {
 public:
  static_assert(std::is_trivially_destructible_v<T> && std::is_trivially_copyable_v<T>);

  Array() = default;
  Array(Array&& other) noexcept { *this = std::move(other); }
  Array& operator=(Array&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Array() { std::free(data_); }

  static Result<Array> allocate(uint64_t size, const char* what) {
    Array array;
    if (size == 0) return array;
    if (size > SIZE_MAX / sizeof(T)) return out_of_memory(size, what);
    array.data_ = static_cast<T*>(std::calloc(size, sizeof(T)));
    if (array.data_ == nullptr) return out_of_memory(size * sizeof(T), what);
    array.size_ = size;
    return array;
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  uint64_t size() const { return size_; }
  T& operator[](uint64_t i) { return data_[i]; }
  const T& operator[](uint64_t i) const { return data_[i]; }
  T* begin() { return data_; }
  T* end() { return data_ + size_; }
  const T* begin() const { return data_; }
  const T* end() const { return data_ + size_; }

 private:
  T* data_ = nullptr;
  uint64_t size_ = 0;
};

// An object on the heap; null if there is no memory.
template <typename T>
T* create() {
  void* memory = std::malloc(sizeof(T));
  return memory == nullptr ? nullptr : new (memory) T();
}

template <typename T>
void destroy(T* object) {
  if (object == nullptr) return;
  object->~T();
  std::free(object);
}

// Base of what several owners share; the last one to leave destroys it. Owners may live on
// different threads.
class Shared {
 private:
  template <typename T>
  friend class Ref;
  std::atomic<uint32_t> owners_{1};
};

template <typename T>
class Ref {
 public:
  Ref() = default;
  Ref(const Ref& other) : object_(other.object_) { retain(); }
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() {
    if (object_ != nullptr && object_->owners_.fetch_sub(1, std::memory_order_acq_rel) == 1)
      destroy(object_);
  }

  static Ref create() { return adopt(sanderling::create<T>()); }
  // Takes over an ownership that release() gave away.
  static Ref adopt(T* object) {
    Ref ref;
    ref.object_ = object;
    return ref;
  }
  // One more owner of an object that somebody else keeps alive meanwhile.
  static Ref share(T* object) {
    Ref ref = adopt(object);
    ref.retain();
    return ref;
  }
  // One more owner of an object that may be about to be destroyed, but is not freed yet; null if it
  // is.
  static Ref share_if_alive(T* object) {
    uint32_t owners = object->owners_.load(std::memory_order_relaxed);
    while (owners != 0) {
      if (object->owners_.compare_exchange_weak(owners, owners + 1, std::memory_order_acq_rel))
        return adopt(object);
    }
    return {};
  }
  T* release() { return std::exchange(object_, nullptr); }

  T* get() const { return object_; }
  T* operator->() const { return object_; }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  void retain() {
    if (object_ != nullptr) object_->owners_.fetch_add(1, std::memory_order_relaxed);
  }
  T* object_ = nullptr;
};

}  // namespace sanderling

#endif  // SANDERLING_CORE_MEMORY_H_
