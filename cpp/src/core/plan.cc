#include "core/plan.h"

#include <algorithm>
#include <iterator>

#include "core/pipeline.h"
#include "core/utf8.h"

namespace sanderling {
namespace {

enum Kind : uint32_t {
  kStrings = 1,
  kTarget,
  kFeatures,
  kBlobs,
  kTensors,
  kKernels,
  kBuffers,
  kCalls,
  kArgs,
  kPipeline,
  kLevels,
  kLabels
};
constexpr uint32_t kKinds = kLabels + 1;

struct SectionRule {
  const char* name;
  uint32_t record_size;
  uint64_t least, most;
};

// Indexed by kind.
constexpr SectionRule kRules[kKinds] = {
    {},
    {"STRINGS", 1, 0, kMaxPlanBytes},
    {"TARGET", sizeof(TargetRecord), 1, 1},
    {"FEATURES", sizeof(StringRef), 0, 65536},
    {"BLOBS", sizeof(BlobRecord), 2, 2},
    {"TENSORS", sizeof(TensorRecord), 2, 65536},
    {"KERNELS", sizeof(StringRef), 1, 65536},
    {"BUFFERS", sizeof(BufferRecord), 0, 65536},
    {"CALLS", sizeof(CallRecord), 1, 65536},
    {"ARGS", sizeof(ArgRecord), 0, 1 << 20},
    {"PIPELINE", sizeof(PipelineRecord), 0, 1},
    {"LEVELS", sizeof(LevelRecord), 0, 64},
    {"LABELS", sizeof(StringRef), 0, 65536},
};

constexpr uint32_t kItemSizes[] = {0, 4, 2, 2, 1, 1, 2, 2, 4, 4, 8, 8, 8, 1};

Digest plan_digest(Bytes file) {
  static constexpr uint8_t kZero[sizeof(Digest)] = {};
  constexpr uint64_t kAfter = kDigestOffset + sizeof(Digest);
  Sha256 hash;
  hash.update({file.data, kDigestOffset});
  hash.update({kZero, sizeof(kZero)});
  hash.update({file.data + kAfter, file.size - kAfter});
  return hash.finish();
}

Status check_header(const PlanHeader& header, Bytes file) {
  if (std::memcmp(header.magic, kPlanMagic, sizeof(kPlanMagic)) != 0)
    return bad("it does not begin with SNDPLAN");
  if (header.version != kPlanVersion) {
    return Status::error(SD_UNSUPPORTED_VERSION, "format version %u; this runtime reads version %u",
                         header.version, kPlanVersion);
  }
  if (header.header_size != sizeof(PlanHeader))
    return bad("header size %u is not 96", header.header_size);
  if (header.size != file.size) {
    return bad("it says that it has %lu bytes, but has %lu", header.size, file.size);
  }
  if (plan_digest(file) != header.digest)
    return Status::error(SD_DIGEST_MISMATCH, "its SHA-256 does not match");
  if (header.kernel_abi != kKernelAbi) {
    return Status::error(SD_UNSUPPORTED_VERSION,
                         "kernel ABI version %u; this runtime calls version %u", header.kernel_abi,
                         kKernelAbi);
  }
  if (header.sections > kMaxSections)
    return bad("%u sections; at most %u are allowed", header.sections, kMaxSections);
  if (header.arena_bytes > kMaxMemory)
    return bad("arena of %lu bytes; 4 GiB are allowed", header.arena_bytes);
  if (header.scratch_bytes > kMaxMemory) {
    return bad("scratch of %lu bytes; 4 GiB are allowed", header.scratch_bytes);
  }
  for (const uint8_t byte : header.zero) {
    if (byte != 0) return bad("reserved bytes of the header are not zero");
  }
  return {};
}

}  // namespace

uint32_t item_size(uint32_t dtype) { return dtype < std::size(kItemSizes) ? kItemSizes[dtype] : 0; }

class PlanReader {
 public:
  explicit PlanReader(Plan* plan, Bytes file) : plan_(*plan), file_(file) {}

  Status read() {
    SD_TRY(check_header(plan_.header(), file_));
    SD_TRY(read_sections());
    SD_TRY(check_strings());
    return check_target_and_blobs();
  }

 private:
  Status read_sections() {
    const uint32_t count = plan_.header().sections;
    if (!fits(sizeof(PlanHeader), count * sizeof(SectionRecord), file_.size))
      return bad("its section table is cut off");
    const auto* table = reinterpret_cast<const SectionRecord*>(file_.data + sizeof(PlanHeader));
    const uint64_t table_end = sizeof(PlanHeader) + count * sizeof(SectionRecord);
    for (uint32_t i = 0; i < count; ++i) {
      const SectionRecord& section = table[i];
      if (section.kind == 0 || section.kind >= kKinds)
        return bad("section kind %u is unknown", section.kind);
      if (i > 0 && section.kind <= table[i - 1].kind) return bad("section kinds do not ascend");
      const SectionRule& rule = kRules[section.kind];
      if (section.record_size != rule.record_size) {
        return bad("%s: record size %u is not %u", rule.name, section.record_size,
                   rule.record_size);
      }
      if (section.count > rule.most) {
        return bad("%s: %lu records; %lu are allowed", rule.name, section.count, rule.most);
      }
      const uint64_t size = section.count * rule.record_size;  // both are small by now
      if (section.offset % 8 != 0)
        return bad("%s: offset %lu is no multiple of 8", rule.name, section.offset);
      if (section.offset < table_end || !fits(section.offset, size, file_.size)) {
        return bad("%s: offset %lu and %lu bytes lie outside the file", rule.name, section.offset,
                   size);
      }
      for (uint32_t j = 0; j < i; ++j) {
        const SectionRule& other = kRules[table[j].kind];
        if (overlap(section.offset, size, table[j].offset, table[j].count * other.record_size)) {
          return bad("sections %s and %s overlap", other.name, rule.name);
        }
      }
      sections_[section.kind] = section;
    }
    for (uint32_t kind = 1; kind < kKinds; ++kind) {
      if (sections_[kind].count < kRules[kind].least) {
        return bad("%s: %lu records; at least %lu are needed", kRules[kind].name,
                   sections_[kind].count, kRules[kind].least);
      }
    }
    take(kTarget, &plan_.targets_);
    take(kFeatures, &plan_.features_);
    take(kBlobs, &plan_.blobs_);
    take(kTensors, &plan_.tensors_);
    take(kKernels, &plan_.kernels_);
    take(kBuffers, &plan_.buffers_);
    take(kCalls, &plan_.calls_);
    take(kArgs, &plan_.args_);
    take(kPipeline, &plan_.pipelines_);
    take(kLevels, &plan_.levels_);
    take(kLabels, &plan_.labels_);
    plan_.strings_ = reinterpret_cast<const char*>(file_.data + sections_[kStrings].offset);
    return {};
  }

  template <typename T>
  void take(Kind kind, Records<T>* records) {
    if (sections_[kind].count == 0) return;
    *records = {reinterpret_cast<const T*>(file_.data + sections_[kind].offset),
                static_cast<uint32_t>(sections_[kind].count)};
  }

  // Every string that a record refers to must be a whole one of the section, NUL behind it.
  Status check_strings() {
    const uint64_t size = sections_[kStrings].count;
    const char* strings = plan_.strings_;
    if (!is_utf8(reinterpret_cast<const uint8_t*>(strings), size))
      return bad("STRINGS is not UTF-8");
    if (size > 0 && strings[size - 1] != '\0') return bad("STRINGS does not end with a NUL");
    const auto check = [&](StringRef ref, const char* owner) -> Status {
      if (ref.length > kMaxString)
        return bad("%s: a string of %u bytes; %u are allowed", owner, ref.length, kMaxString);
      if (!fits(ref.offset, uint64_t{ref.length} + 1, size))
        return bad("%s: a string lies outside STRINGS", owner);
      const char* begin = strings + ref.offset;
      if ((ref.offset > 0 && begin[-1] != '\0') || begin[ref.length] != '\0' ||
          std::memchr(begin, '\0', ref.length) != nullptr) {
        return bad("%s: a reference does not cover one whole string of STRINGS", owner);
      }
      return {};
    };
    for (const TargetRecord& target : plan_.targets_) SD_TRY(check(target.name, "TARGET"));
    for (const StringRef& feature : plan_.features_) SD_TRY(check(feature, "FEATURES"));
    for (const TensorRecord& tensor : plan_.tensors_) SD_TRY(check(tensor.name, "TENSORS"));
    for (const StringRef& kernel : plan_.kernels_) SD_TRY(check(kernel, "KERNELS"));
    for (const StringRef& label : plan_.labels_) SD_TRY(check(label, "LABELS"));
    for (const CallRecord& call : plan_.calls_) {
      SD_TRY(check(call.node, "CALLS"));
      SD_TRY(check(call.kind, "CALLS"));
    }
    return {};
  }

  Status check_target_and_blobs() {
    const TargetRecord& target = plan_.target();
    if (target.arch != uint32_t(Arch::kX86_64) && target.arch != uint32_t(Arch::kAArch64)) {
      return bad("TARGET: architecture %u is unknown", target.arch);
    }
    if (target.zero != 0) return bad("TARGET: a reserved field is not zero");
    if (!fits(target.first_feature, target.feature_count, plan_.features_.count)) {
      return bad("TARGET: features %u and %u more lie outside FEATURES", target.first_feature,
                 target.feature_count);
    }
    for (uint32_t i = 0; i < 2; ++i) {
      if (plan_.blobs_[i].kind != i + 1)
        return bad("BLOBS: record %u is of kind %u", i, plan_.blobs_[i].kind);
      if (plan_.blobs_[i].zero != 0) return bad("BLOBS: a reserved field is not zero");
    }
    return {};
  }

  Plan& plan_;
  Bytes file_;
  SectionRecord sections_[kKinds] = {};
};

Result<Plan> Plan::read(Bytes file) {
  if (file.size < sizeof(PlanHeader)) return bad("%lu bytes are too few for a header", file.size);
  if (file.size > kMaxPlanBytes) return bad("%lu bytes; 64 MiB are allowed", file.size);
  Result<Array<uint64_t>> storage =
      Array<uint64_t>::allocate(round_up(file.size, 8) / 8, "plan.bin");
  if (!storage.ok()) return storage.status();
  Plan plan;
  plan.storage_ = std::move(storage.value());
  std::memcpy(plan.storage_.data(), file.data, file.size);
  SD_TRY(PlanReader(&plan, {reinterpret_cast<const uint8_t*>(plan.storage_.data()), file.size})
             .read());
  SD_TRY(check_tensors(plan));
  while (plan.inputs_ < plan.tensors_.count &&
         plan.tensors_[plan.inputs_].role == uint32_t(Role::kInput)) {
    ++plan.inputs_;
  }
  SD_TRY(check_calls(plan));
  SD_TRY(check_buffers(plan));
  if (plan.pipeline() != nullptr) SD_TRY(resolve_pipeline(plan).status());
  return plan;
}

Status check_tensors(const Plan& plan) {
  const Records<TensorRecord> tensors = plan.tensors();
  for (uint32_t i = 0; i < tensors.count; ++i) {
    const TensorRecord& tensor = tensors[i];
    const char* name = plan.text(tensor.name);
    if (tensor.role != uint32_t(Role::kInput) && tensor.role != uint32_t(Role::kOutput)) {
      return bad("TENSORS: '%s' has the unknown role %u", name, tensor.role);
    }
    if (i > 0 && tensor.role < tensors[i - 1].role)
      return bad("TENSORS: input '%s' comes after an output", name);
    const uint32_t item = item_size(tensor.dtype);
    if (item == 0) return bad("TENSORS: '%s' has the unknown dtype %u", name, tensor.dtype);
    if (tensor.rank > kMaxRank)
      return bad("TENSORS: '%s' has rank %u; %u are allowed", name, tensor.rank, kMaxRank);
    if (tensor.zero != 0 || (tensor.bounded == 0 && tensor.count != 0))
      return bad("TENSORS: '%s': a reserved field is not zero", name);
    if (tensor.bounded > tensor.rank)
      return bad("TENSORS: '%s': dimension %u cannot be bounded", name, tensor.bounded - 1);
    if (tensor.bounded != 0 && tensor.role == uint32_t(Role::kInput))
      return bad("TENSORS: '%s' is an input, but its size is not fixed", name);
    uint64_t bytes = item;
    for (uint32_t axis = 0; axis < kMaxRank; ++axis) {
      const int64_t dim = tensor.dims[axis];
      if (axis >= tensor.rank ? dim != 0 : dim < 1) {
        return bad("TENSORS: '%s': dimension %u is %ld", name, axis, dim);
      }
      if (axis < tensor.rank && !multiply(bytes, static_cast<uint64_t>(dim), &bytes))
        bytes = UINT64_MAX;
    }
    if (bytes > kMaxMemory) return bad("TENSORS: '%s' is larger than 4 GiB", name);
    if (bytes != tensor.bytes) {
      return bad("TENSORS: '%s' says that it has %lu bytes; its shape makes %lu", name,
                 tensor.bytes, bytes);
    }
  }
  if (tensors[0].role != uint32_t(Role::kInput)) return bad("TENSORS: there is no input");
  if (tensors[tensors.count - 1].role != uint32_t(Role::kOutput))
    return bad("TENSORS: there is no output");

  Result<Array<const char*>> names = Array<const char*>::allocate(tensors.count, "tensor names");
  if (!names.ok()) return names.status();
  for (uint32_t i = 0; i < tensors.count; ++i) names.value()[i] = plan.text(tensors[i].name);
  std::sort(names->begin(), names->end(),
            [](const char* a, const char* b) { return std::strcmp(a, b) < 0; });
  for (uint32_t i = 1; i < tensors.count; ++i) {
    if (std::strcmp(names.value()[i - 1], names.value()[i]) == 0) {
      return bad("TENSORS: the name '%s' occurs twice", names.value()[i]);
    }
  }
  return {};
}

}  // namespace sanderling
