// The records of plan.bin, as docs/package-format.md, section 3, lays them out.
#ifndef SANDERLING_CORE_PLAN_FORMAT_H_
#define SANDERLING_CORE_PLAN_FORMAT_H_

#include <cstdint>

#include "core/sha256.h"

namespace sanderling {

inline constexpr char kPlanMagic[8] = {'S', 'N', 'D', 'P', 'L', 'A', 'N', '\0'};
inline constexpr uint32_t kPlanVersion = 1;
inline constexpr uint32_t kKernelAbi = 1;
inline constexpr uint64_t kDigestOffset = 48;
inline constexpr uint32_t kNone = 0xFFFFFFFF;

// Limits: what keeps a small hostile file from asking for much memory or time.
inline constexpr uint64_t kMaxPlanBytes = 64ULL << 20;
inline constexpr uint64_t kMaxMemory = 4ULL << 30;  // arena, scratch per thread, one tensor
inline constexpr uint32_t kMaxSections = 32;
inline constexpr uint32_t kMaxString = 4096;
inline constexpr uint32_t kMaxRank = 8;
inline constexpr uint32_t kMaxCallArgs = 24;
inline constexpr uint32_t kMaxTasks = 0x7FFFFFFF;

enum class Arch : uint32_t { kX86_64 = 1, kAArch64 = 2 };
enum class Role : uint32_t { kInput = 1, kOutput = 2 };
enum class Place : uint32_t { kArena = 1, kParams = 2, kInput = 3, kOutput = 4, kScratch = 5 };
enum Access : uint32_t { kRead = 1, kWrite = 2, kBoth = 3 };
enum class Task : uint32_t { kDetect = 1, kClassify = 2 };

struct PlanHeader {
  char magic[8];
  uint32_t version, header_size;
  uint64_t size;
  uint32_t sections, kernel_abi;
  uint64_t arena_bytes, scratch_bytes;
  Digest digest;
  uint8_t zero[16];
};

struct SectionRecord {
  uint32_t kind, record_size;
  uint64_t offset, count;
};

struct StringRef {
  uint32_t offset, length;
};

struct TargetRecord {
  StringRef name;
  uint32_t arch, first_feature, feature_count, zero;
};

struct BlobRecord {
  uint32_t kind, zero;
  uint64_t size;
  Digest digest;
};

struct TensorRecord {
  StringRef name;
  uint32_t role, dtype, rank;
  uint32_t bounded;  // 0, or 1 + the dimension of which `dims` is only an upper bound
  int64_t dims[kMaxRank];
  uint64_t bytes;
  uint32_t count;  // the buffer that begins with the real size (int64) after a run
  uint32_t zero;
};

struct BufferRecord {
  uint64_t offset, size;
  uint32_t first_call, last_call;
};

struct CallRecord {
  uint32_t kernel, tasks, first_arg, arg_count, grain, zero;
  StringRef node, kind;
  uint64_t flops;
};

struct ArgRecord {
  uint32_t place, access, index, alignment;
  uint64_t offset, size;
};

struct PipelineRecord {
  uint32_t task, input, color, resize;
  float mean[3], std[3], pad_value;
  uint32_t decode, score;
  float score_threshold, nms_iou;
  uint32_t max_detections, first_level, level_count, first_label, label_count;
  uint32_t zero[4];
};

struct LevelRecord {
  uint32_t stride, cls, box, obj;
};

static_assert(sizeof(PlanHeader) == 96 && sizeof(SectionRecord) == 24 && sizeof(StringRef) == 8);
static_assert(sizeof(TargetRecord) == 24 && sizeof(BlobRecord) == 48 &&
              sizeof(TensorRecord) == 104);
static_assert(sizeof(BufferRecord) == 24 && sizeof(CallRecord) == 48 && sizeof(ArgRecord) == 32);
static_assert(sizeof(PipelineRecord) == 96 && sizeof(LevelRecord) == 16);

}  // namespace sanderling

#endif  // SANDERLING_CORE_PLAN_FORMAT_H_
