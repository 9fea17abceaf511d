// From a camera frame to a model's input: resize, colour order, normalisation and layout in one
// pass.
#ifndef SANDERLING_VISION_PREPROCESS_H_
#define SANDERLING_VISION_PREPROCESS_H_

#include <cstddef>
#include <cstdint>

namespace sanderling::vision {

// HWC bytes, three channels, RGB. `row_stride` is in bytes and may be negative (bottom-up images).
struct FrameView {
  const uint8_t* data;
  int32_t height, width;
  int64_t row_stride;
};

// Values as in the PIPELINE record of plan.bin.
enum class Color { kRgb = 1, kBgr = 2, kGray = 3 };
enum class Resize { kLetterbox = 1, kStretch = 2 };

// The model's input. `mean`, `std` and `pad_value` are in bytes (0…255), in the model's colour
// order; `channels` is 3, or 1 for kGray.
struct InputSpec {
  int32_t height, width, channels;
  bool nhwc;
  Color color;
  Resize resize;
  float mean[3], std[3], pad_value;
};

// Where the frame lies in the input: input = frame · scale + offset, filling width × height input
// pixels.
struct Placement {
  float scale_x, scale_y, offset_x, offset_y;
  int32_t width, height;
};

// Frame and input sizes must be positive.
Placement place(const InputSpec& spec, int32_t frame_height, int32_t frame_width);

// Bytes that preprocess() works in; depends on nothing but the input's width.
size_t preprocess_scratch_bytes(const InputSpec& spec);

// Fills `input` (height × width × channels floats, any float alignment). `scratch` is aligned to 16
// bytes. Allocates nothing.
void preprocess(const InputSpec& spec, const FrameView& frame, float* input, void* scratch);

}  // namespace sanderling::vision

#endif  // SANDERLING_VISION_PREPROCESS_H_
