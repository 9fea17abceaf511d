// plan.bin, read and checked: whoever holds a Plan may use every index, offset and string in it
// without another look.
#ifndef SANDERLING_CORE_PLAN_H_
#define SANDERLING_CORE_PLAN_H_

#include "core/bytes.h"
#include "core/memory.h"
#include "core/plan_format.h"
#include "core/status.h"

namespace sanderling {

template <typename T>
struct Records {
  const T* data = nullptr;
  uint32_t count = 0;

  const T& operator[](uint32_t i) const { return data[i]; }
  const T* begin() const { return data; }
  const T* end() const { return data + count; }
};

class Plan {
 public:
  // Copies `file` first, so that nobody can change what has been checked, then checks all of
  // section 3.
  static Result<Plan> read(Bytes file);

  const PlanHeader& header() const { return *reinterpret_cast<const PlanHeader*>(storage_.data()); }
  const char* text(StringRef string) const { return strings_ + string.offset; }  // NUL-terminated
  const TargetRecord& target() const { return *targets_.data; }
  const BlobRecord& kernels_blob() const { return blobs_[0]; }
  const BlobRecord& params_blob() const { return blobs_[1]; }
  const PipelineRecord* pipeline() const {
    return pipelines_.count == 0 ? nullptr : pipelines_.data;
  }
  Records<StringRef> features() const { return features_; }
  Records<TensorRecord> tensors() const { return tensors_; }
  Records<StringRef> kernels() const { return kernels_; }
  Records<BufferRecord> buffers() const { return buffers_; }
  Records<CallRecord> calls() const { return calls_; }
  Records<ArgRecord> args() const { return args_; }
  Records<LevelRecord> levels() const { return levels_; }
  Records<StringRef> labels() const { return labels_; }
  uint32_t inputs() const { return inputs_; }
  uint32_t outputs() const { return tensors_.count - inputs_; }

 private:
  friend class PlanReader;
  Array<uint64_t> storage_;  // the file, aligned for its records
  const char* strings_ = nullptr;
  uint32_t inputs_ = 0;
  Records<TargetRecord> targets_;
  Records<BlobRecord> blobs_;
  Records<PipelineRecord> pipelines_;
  Records<StringRef> features_, kernels_, labels_;
  Records<TensorRecord> tensors_;
  Records<BufferRecord> buffers_;
  Records<CallRecord> calls_;
  Records<ArgRecord> args_;
  Records<LevelRecord> levels_;
};

uint32_t item_size(uint32_t dtype);  // bytes; 0 if there is no such dtype

// The parts of the check; each assumes that those above it have passed.
Status check_tensors(const Plan& plan);
Status check_calls(const Plan& plan);    // plan_calls.cc: arguments, order of reads and writes
Status check_buffers(const Plan& plan);  // plan_buffers.cc: lifetimes against addresses

}  // namespace sanderling

#endif  // SANDERLING_CORE_PLAN_H_
