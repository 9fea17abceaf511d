// From a detector's outputs to boxes in the frame: scores, box decoding, non-maximum suppression.
#ifndef SANDERLING_VISION_DECODE_H_
#define SANDERLING_VISION_DECODE_H_

#include <cstddef>
#include <cstdint>

#include "sanderling/sanderling.h"
#include "vision/preprocess.h"

namespace sanderling::vision {

// Values as in the PIPELINE record of plan.bin.
enum class Decoder { kGridLtrbExp = 1, kYolo = 2, kBoxesScores = 3 };
enum class Score { kNone = 0, kSigmoid = 1, kSoftmax = 2 };

// One set of output maps with K classes.
//   kGridLtrbExp: cls [K,height,width], box [4,height,width], obj [height,width] or null.
//   kYolo:        cls [4+K,width], height 1, box and obj null.
//   kBoxesScores: cls [width,K], box [width,4], height 1, obj null.
// Data may have any float alignment.
struct Level {
  int32_t stride;
  int32_t height, width;
  const float* cls;
  const float* box;
  const float* obj;
};

struct DecodeSpec {
  Decoder decoder;
  Score score;
  int32_t classes;
  float nms_iou;
  int32_t max_detections;
};

// At most this many candidates, the best by score, enter non-maximum suppression.
constexpr size_t kMaxCandidates = 1024;

// Bytes that decode() works in.
size_t decode_scratch_bytes();

// Writes the detections with a score ≥ threshold, best first, at most min(capacity, max_detections)
// of them, and returns how many. Boxes are in frame pixels, clipped to the frame; NaN scores or
// boxes and boxes wholly outside the frame are no detections. `scratch` is aligned to 8 bytes.
// Allocates nothing.
size_t decode(const DecodeSpec& spec, const Level* levels, size_t level_count,
              const Placement& placement, int32_t frame_height, int32_t frame_width,
              float threshold, void* scratch, sd_detection* detections, size_t capacity);

}  // namespace sanderling::vision

#endif  // SANDERLING_VISION_DECODE_H_
