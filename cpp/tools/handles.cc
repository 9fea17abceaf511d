#include "handles.h"

#include <cstring>

namespace tools {
namespace {

std::vector<Tensor> tensors_of(const sd_model* model, size_t count,
                               sd_status (*describe)(const sd_model*, size_t, sd_tensor_info*,
                                                     sd_error*)) {
  std::vector<Tensor> tensors(count);
  for (size_t i = 0; i < count; ++i) {
    sd_error error;
    check(describe(model, i, &tensors[i].info, &error), error);
    tensors[i].bytes.resize(tensors[i].info.bytes);
  }
  return tensors;
}

// xorshift32 (Marsaglia, 2003).
uint32_t next(uint32_t* state) {
  *state ^= *state << 13;
  *state ^= *state >> 17;
  *state ^= *state << 5;
  return *state;
}

template <typename T>
void fill(std::vector<unsigned char>* bytes, uint32_t seed, T (*value)(uint32_t random)) {
  uint32_t state = seed * 2654435761U + 1;
  for (size_t at = 0; at + sizeof(T) <= bytes->size(); at += sizeof(T)) {
    const T item = value(next(&state));
    std::memcpy(bytes->data() + at, &item, sizeof(T));
  }
}

double unit(uint32_t random) { return random / 2147483648.0 - 1.0; }

}  // namespace

void fill_with_pattern(Tensor* tensor, uint32_t seed) {
  switch (tensor->info.dtype) {
    case SD_FLOAT32:
      return fill<float>(&tensor->bytes, seed, [](uint32_t r) { return float(unit(r)); });
    case SD_FLOAT64:
      return fill<double>(&tensor->bytes, seed, [](uint32_t r) { return unit(r); });
    case SD_FLOAT16:  // sign, and the fraction of a number between 0.5 and 1
      return fill<uint16_t>(&tensor->bytes, seed,
                            [](uint32_t r) { return uint16_t((r & 0x83FF) | 0x3800); });
    case SD_BFLOAT16:
      return fill<uint16_t>(&tensor->bytes, seed,
                            [](uint32_t r) { return uint16_t((r & 0x807F) | 0x3F00); });
    case SD_INT8:
    case SD_UINT8:
      return fill<uint8_t>(&tensor->bytes, seed, [](uint32_t r) { return uint8_t(r >> 24); });
    case SD_INT16:
    case SD_UINT16:
      return fill<uint16_t>(&tensor->bytes, seed, [](uint32_t r) { return uint16_t(r >> 25); });
    case SD_INT32:
    case SD_UINT32:
      return fill<uint32_t>(&tensor->bytes, seed, [](uint32_t r) { return r >> 25; });
    case SD_INT64:
    case SD_UINT64:
      return fill<uint64_t>(&tensor->bytes, seed, [](uint32_t r) { return uint64_t{r >> 25}; });
    case SD_BOOL:
      return fill<uint8_t>(&tensor->bytes, seed, [](uint32_t r) { return uint8_t(r >> 31); });
  }
}

Loaded load(const std::string& path, const char* variant, sd_pool* pool) {
  const Package package = open<Package>(sd_package_open, path.c_str());
  Loaded loaded;
  loaded.model = open<Model>(sd_model_load, package.get(), variant, SD_VERIFY_FAST);
  loaded.session = open<Session>(sd_session_create, loaded.model.get(), pool);
  const sd_model* model = loaded.model.get();
  loaded.inputs = tensors_of(model, sd_model_input_count(model), sd_model_input);
  loaded.outputs = tensors_of(model, sd_model_output_count(model), sd_model_output);
  for (size_t i = 0; i < loaded.inputs.size(); ++i) {
    fill_with_pattern(&loaded.inputs[i], uint32_t(i));
    loaded.input_pointers.push_back(loaded.inputs[i].bytes.data());
  }
  for (Tensor& output : loaded.outputs) loaded.output_pointers.push_back(output.bytes.data());
  return loaded;
}

void Loaded::run() {
  sd_error error;
  check(sd_session_run(session.get(), input_pointers.data(), output_pointers.data(), &error),
        error);
}

void Loaded::profile(std::vector<uint64_t>* nanoseconds) {
  sd_error error;
  nanoseconds->resize(sd_model_call_count(model.get()));
  check(sd_session_profile(session.get(), input_pointers.data(), output_pointers.data(),
                           nanoseconds->data(), &error),
        error);
}

std::vector<int64_t> Loaded::output_dims(size_t index) const {
  std::vector<int64_t> dims(std::size(outputs[index].info.dims));
  sd_error error;
  check(sd_session_output_dims(session.get(), index, dims.data(), &error), error);
  dims.resize(size_t(outputs[index].info.rank));
  return dims;
}

std::vector<unsigned char> Loaded::output_bytes(size_t index) const {
  const sd_tensor_info& info = outputs[index].info;
  const std::vector<unsigned char>& bytes = outputs[index].bytes;
  if (info.bounded < 0) return bytes;
  // Blocks of what lies behind the bounded dimension; of each, its beginning is real.
  const size_t most = size_t(info.dims[info.bounded]);
  const size_t real = size_t(output_dims(index)[size_t(info.bounded)]);
  size_t blocks = 1;
  for (int axis = 0; axis < info.bounded; ++axis) blocks *= size_t(info.dims[axis]);
  const size_t block = bytes.size() / blocks, kept = block / most * real;
  std::vector<unsigned char> result;
  for (size_t i = 0; i < blocks; ++i) {
    const auto begin = bytes.begin() + ptrdiff_t(i * block);
    result.insert(result.end(), begin, begin + ptrdiff_t(kept));
  }
  return result;
}

}  // namespace tools
