// The C API with owners, and errors as exceptions: the tool is a program, and may use them.
#ifndef SANDERLING_TOOLS_HANDLES_H_
#define SANDERLING_TOOLS_HANDLES_H_

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "sanderling/sanderling.h"

namespace tools {

// Ends the program, or the serve command, with this text.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void check(sd_status status, const sd_error& error) {
  if (status != SD_OK) throw Failure(error.message);
}

template <auto Release>
struct Releaser {
  template <typename T>
  void operator()(T* handle) const {
    Release(handle);
  }
};

using Package = std::unique_ptr<sd_package, Releaser<sd_package_close>>;
using Model = std::unique_ptr<sd_model, Releaser<sd_model_release>>;
using Pool = std::unique_ptr<sd_pool, Releaser<sd_pool_release>>;
using Session = std::unique_ptr<sd_session, Releaser<sd_session_destroy>>;

// Calls create(arguments…, &handle, &error).
template <typename Owner, typename... Parameters, typename... Arguments>
Owner open(sd_status (*create)(Parameters...), Arguments... arguments) {
  typename Owner::pointer handle = nullptr;
  sd_error error;
  check(create(arguments..., &handle, &error), error);
  return Owner(handle);
}

struct Tensor {
  sd_tensor_info info;
  std::vector<unsigned char> bytes;  // of the whole bounded shape
};

// A loaded model with arrays for its inputs (filled with a fixed pattern) and outputs.
struct Loaded {
  Model model;
  Session session;
  std::vector<Tensor> inputs, outputs;
  std::vector<const void*> input_pointers;
  std::vector<void*> output_pointers;

  void run();
  void profile(std::vector<uint64_t>* nanoseconds);
  std::vector<int64_t> output_dims(size_t index) const;         // after a run
  std::vector<unsigned char> output_bytes(size_t index) const;  // what is real of them
};

Loaded load(const std::string& path, const char* variant, sd_pool* pool);

// Deterministic values in [-1, 1), or small integers for integer types.
void fill_with_pattern(Tensor* tensor, uint32_t seed);

}  // namespace tools

#endif  // SANDERLING_TOOLS_HANDLES_H_
