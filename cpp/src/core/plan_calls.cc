// What calls do with their arguments: every range inside its parent, nothing read before it is
// written.
#include <algorithm>
#include <cstdio>

#include "core/plan.h"

namespace sanderling {
namespace {

constexpr uint64_t kMaxAlignment = 64;
constexpr uint64_t kMaxCallerAlignment = 4;  // callers' arrays may lie anywhere

class CallChecker {
 public:
  explicit CallChecker(const Plan& plan) : plan_(plan) {}

  Status check() {
    Result<Array<bool>> buffers = Array<bool>::allocate(plan_.buffers().count, "buffer states");
    Result<Array<bool>> tensors = Array<bool>::allocate(plan_.tensors().count, "tensor states");
    if (!buffers.ok()) return buffers.status();
    if (!tensors.ok()) return tensors.status();
    buffer_written_ = std::move(buffers.value());
    tensor_written_ = std::move(tensors.value());
    for (call_ = 0; call_ < plan_.calls().count; ++call_) {
      SD_TRY(check_call(plan_.calls()[call_]));
    }
    for (uint32_t i = plan_.inputs(); i < plan_.tensors().count; ++i) {
      const TensorRecord& tensor = plan_.tensors()[i];
      if (!tensor_written_[i]) {
        return Status::error(SD_BAD_PACKAGE, "output '%s' is written by no call",
                             plan_.text(tensor.name));
      }
      if (tensor.bounded != 0) SD_TRY(check_count(tensor));
    }
    return {};
  }

 private:
  // The count of a bounded output still stands in its buffer when all calls are done.
  Status check_count(const TensorRecord& tensor) const {
    const char* name = plan_.text(tensor.name);
    const auto refuse = [name](const char* why) {
      return Status::error(SD_BAD_PACKAGE, "output '%s': the buffer of its count %s", name, why);
    };
    if (tensor.count >= plan_.buffers().count) return refuse("does not exist");
    const BufferRecord& buffer = plan_.buffers()[tensor.count];
    if (buffer.size < sizeof(int64_t)) return refuse("is too small");
    if (buffer.last_call != plan_.calls().count - 1) return refuse("is not kept to the last call");
    if (!buffer_written_[tensor.count]) return refuse("is written by no call");
    return {};
  }

  // bad(), said of the call and argument that is being looked at.
  __attribute__((format(printf, 2, 3))) Status bad(const char* format, ...) const {
    char about[64];
    std::snprintf(about, sizeof(about), arg_ == kNone ? "call %u" : "call %u, argument %u", call_,
                  arg_);
    va_list arguments;
    va_start(arguments, format);
    const Status status = Status::error(SD_BAD_PACKAGE, format, arguments);
    va_end(arguments);
    return status.about(about);
  }

  Status check_call(const CallRecord& call) {
    arg_ = kNone;
    if (call.kernel >= plan_.kernels().count) return bad("kernel %u does not exist", call.kernel);
    if (call.tasks < 1 || call.tasks > kMaxTasks)
      return bad("%u tasks; 1 to 2^31 - 1 are allowed", call.tasks);
    if (call.grain < 1) return bad("grain is 0");
    if (call.zero != 0) return bad("a reserved field is not zero");
    if (call.arg_count > kMaxCallArgs)
      return bad("%u arguments; %u are allowed", call.arg_count, kMaxCallArgs);
    if (!fits(call.first_arg, call.arg_count, plan_.args().count)) {
      return bad("arguments %u and %u more lie outside ARGS", call.first_arg, call.arg_count);
    }
    const ArgRecord* args = plan_.args().data + call.first_arg;
    for (arg_ = 0; arg_ < call.arg_count; ++arg_) {
      SD_TRY(check_arg(args[arg_]));
      SD_TRY(check_against_earlier(args, arg_));
    }
    for (arg_ = 0; arg_ < call.arg_count; ++arg_) SD_TRY(check_order(args[arg_]));
    for (uint32_t i = 0; i < call.arg_count; ++i) {
      if (bool* written = state_of(args[i]); written != nullptr && (args[i].access & kWrite) != 0)
        *written = true;
    }
    return {};
  }

  Status check_arg(const ArgRecord& arg) const {
    if (arg.access < kRead || arg.access > kBoth) return bad("access %u is unknown", arg.access);
    if (arg.size == 0) return bad("it has no byte");
    if (arg.alignment == 0 || arg.alignment > kMaxAlignment ||
        (arg.alignment & (arg.alignment - 1)) != 0) {
      return bad("alignment %u is no power of two up to 64", arg.alignment);
    }
    switch (static_cast<Place>(arg.place)) {
      case Place::kArena:
        return check_arena_arg(arg);
      case Place::kParams:
        if (arg.access != kRead) return bad("parameters are written");
        return check_range(arg, 1, plan_.params_blob().size, "params.bin");
      case Place::kScratch:
        return check_range(arg, 1, plan_.header().scratch_bytes, "the scratch slice");
      case Place::kInput:
        if (arg.access != kRead) return bad("an input is written");
        return check_tensor_arg(arg, 0, plan_.inputs());
      case Place::kOutput:
        return check_tensor_arg(arg, plan_.inputs(), plan_.tensors().count);
    }
    return bad("place %u is unknown", arg.place);
  }

  Status check_range(const ArgRecord& arg, uint32_t parents, uint64_t parent_size,
                     const char* parent) const {
    if (arg.index >= parents) return bad("index %u is not 0", arg.index);
    if (!fits(arg.offset, arg.size, parent_size)) {
      return bad("%lu bytes at %lu lie outside %s (%lu bytes)", arg.size, arg.offset, parent,
                 parent_size);
    }
    if (arg.offset % arg.alignment != 0) {
      return bad("offset %lu is no multiple of the alignment %u", arg.offset, arg.alignment);
    }
    return {};
  }

  Status check_arena_arg(const ArgRecord& arg) const {
    if (arg.index >= plan_.buffers().count) return bad("buffer %u does not exist", arg.index);
    const BufferRecord& buffer = plan_.buffers()[arg.index];
    if (call_ < buffer.first_call || call_ > buffer.last_call) {
      return bad("buffer %u is in use from call %u to %u only", arg.index, buffer.first_call,
                 buffer.last_call);
    }
    return check_range(arg, kNone, buffer.size, "its buffer");
  }

  Status check_tensor_arg(const ArgRecord& arg, uint32_t first, uint32_t end) const {
    if (arg.index < first || arg.index >= end)
      return bad("tensor %u is no such input or output", arg.index);
    const TensorRecord& tensor = plan_.tensors()[arg.index];
    const uint64_t most = std::min<uint64_t>(kMaxCallerAlignment, item_size(tensor.dtype));
    if (arg.alignment > most) {
      return bad("alignment %u of a caller's array; %lu is allowed", arg.alignment, most);
    }
    if (!fits(arg.offset, arg.size, tensor.bytes)) {
      return bad("%lu bytes at %lu lie outside tensor '%s' (%lu bytes)", arg.size, arg.offset,
                 plan_.text(tensor.name), tensor.bytes);
    }
    return {};
  }

  // A written range overlaps no other range of the same memory unless both are the same (in place).
  Status check_against_earlier(const ArgRecord* args, uint32_t count) const {
    const ArgRecord& arg = args[count];
    for (uint32_t i = 0; i < count; ++i) {
      const ArgRecord& other = args[i];
      if (other.place != arg.place || other.index != arg.index) continue;
      if (((arg.access | other.access) & kWrite) == 0) continue;
      if (arg.offset == other.offset && arg.size == other.size) continue;
      if (overlap(arg.offset, arg.size, other.offset, other.size)) {
        return bad("it overlaps argument %u, and one of the two is written", i);
      }
    }
    return {};
  }

  Status check_order(const ArgRecord& arg) {
    const bool* written = state_of(arg);
    if (written == nullptr || *written || arg.access != kRead) return {};
    return bad("%s %u is read before any call has written it",
               arg.place == uint32_t(Place::kArena) ? "buffer" : "tensor", arg.index);
  }

  // Where it is noted that a buffer or output has been written; null for other places.
  bool* state_of(const ArgRecord& arg) {
    if (arg.place == uint32_t(Place::kArena)) return &buffer_written_[arg.index];
    if (arg.place == uint32_t(Place::kOutput)) return &tensor_written_[arg.index];
    return nullptr;
  }

  const Plan& plan_;
  Array<bool> buffer_written_, tensor_written_;
  uint32_t call_ = 0, arg_ = kNone;
};

}  // namespace

Status check_calls(const Plan& plan) { return CallChecker(plan).check(); }

}  // namespace sanderling
