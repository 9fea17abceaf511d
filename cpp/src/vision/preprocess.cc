#include "vision/preprocess.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace sanderling::vision {
namespace {

// A row of input is made tile by tile: first the two source rows are blended (a plain vector loop),
// then columns are picked from the blend. A tile of this many source pixels is 12 kB and stays in
// the first-level cache.
constexpr int32_t kTilePixels = 1024;

using Pixel = float __attribute__((vector_size(16)));  // R, G, B, unused

// A target position between the source positions `first` and `first` + 1.
struct Sample {
  int32_t first;
  float weight;  // of the second
};

struct Scratch {
  float* tile;      // kTilePixels pixels, one repeated at the end, one float so that a Pixel can be
                    // loaded there
  Sample* columns;  // one per column of the placed frame
};

constexpr size_t kTileFloats = (kTilePixels + 1) * 3 + 1;
constexpr size_t kTileBytes = (kTileFloats * sizeof(float) + 15) / 16 * 16;

// Half-pixel centres, edges clamped.
Sample sample(int32_t target, int32_t target_size, int32_t source_size) {
  const double centre = (target + 0.5) * source_size / target_size - 0.5;
  const double position = std::clamp(centre, 0.0, source_size - 1.0);
  const auto first = static_cast<int32_t>(position);
  return {first, static_cast<float>(position - first)};
}

void blend(const uint8_t* top, const uint8_t* bottom, float weight, size_t count,
           float* __restrict__ out) {
  for (size_t i = 0; i < count; ++i) {
    const float a = top[i];
    const float b = bottom[i];
    out[i] = a + (b - a) * weight;
  }
}

Pixel load(const float* at) {
  Pixel pixel;
  std::memcpy(&pixel, at, sizeof pixel);
  return pixel;
}

// Where the red, green and blue (or the one gray) value of column 0 of a row go, and the distance
// between columns.
struct Row {
  float* lane[3];
  ptrdiff_t step;
};

Row row_of(const InputSpec& spec, float* input, int32_t y) {
  const ptrdiff_t plane = spec.nhwc ? 1 : static_cast<ptrdiff_t>(spec.height) * spec.width;
  const ptrdiff_t step = spec.nhwc ? spec.channels : 1;
  float* const start = input + static_cast<ptrdiff_t>(y) * spec.width * step;
  switch (spec.color) {
    case Color::kGray:
      return {{start, start, start}, step};
    case Color::kBgr:
      return {{start + 2 * plane, start + plane, start}, step};
    case Color::kRgb:
      break;
  }
  return {{start, start + plane, start + 2 * plane}, step};
}

// input = byte · gain + bias, by colour (R, G, B); a gray input is the sum of its three terms.
struct Normalisation {
  Pixel gain, bias;
  float pad[3];
};

Normalisation normalisation_of(const InputSpec& spec) {
  constexpr float kLuma[3] = {0.299f, 0.587f, 0.114f};  // ITU-R BT.601
  Normalisation result{};
  for (int32_t colour = 0; colour < 3; ++colour) {
    const bool gray = spec.color == Color::kGray;
    const int32_t channel = gray ? 0 : spec.color == Color::kBgr ? 2 - colour : colour;
    const float gain = 1.0f / spec.std[channel];
    const float bias = -spec.mean[channel] * gain;
    result.gain[colour] = gray ? kLuma[colour] * gain : gain;
    result.bias[colour] = gray && colour > 0 ? 0.0f : bias;
    result.pad[colour] = spec.pad_value * gain + bias;
  }
  return result;
}

void fill(const Row& row, int32_t begin, int32_t end, const float (&value)[3]) {
  for (int32_t lane = 0; lane < 3; ++lane) {
    for (int32_t x = begin; x < end; ++x) row.lane[lane][x * row.step] = value[lane];
  }
}

template <bool kGray>
void pick(const float* tile, int32_t tile_start, const Sample* columns, int32_t begin, int32_t end,
          const Normalisation& norm, const Row& row, int32_t offset) {
  for (int32_t x = begin; x < end; ++x) {
    const float* const source = tile + 3 * static_cast<ptrdiff_t>(columns[x].first - tile_start);
    const Pixel left = load(source);
    const Pixel right = load(source + 3);
    const Pixel value = (left + (right - left) * columns[x].weight) * norm.gain + norm.bias;
    const ptrdiff_t at = (x + static_cast<ptrdiff_t>(offset)) * row.step;
    if (kGray) {
      row.lane[0][at] = value[0] + value[1] + value[2];
    } else {
      row.lane[0][at] = value[0];
      row.lane[1][at] = value[1];
      row.lane[2][at] = value[2];
    }
  }
}

// One row of the placed frame, from the source rows `top` and `bottom`.
void resample_row(const InputSpec& spec, const uint8_t* top, const uint8_t* bottom, float weight,
                  int32_t frame_width, const Placement& placement, const Normalisation& norm,
                  const Scratch& scratch, const Row& row) {
  const auto offset = static_cast<int32_t>(placement.offset_x);
  const int32_t last = frame_width - 1;
  for (int32_t begin = 0; begin < placement.width;) {
    const int32_t start = scratch.columns[begin].first;
    const auto second = [&](int32_t x) { return std::min(scratch.columns[x].first + 1, last); };
    int32_t end = begin + 1;
    while (end < placement.width && second(end) - start < kTilePixels) ++end;
    const int32_t pixels = second(end - 1) - start + 1;
    const size_t from = 3 * static_cast<size_t>(start);
    const size_t count = 3 * static_cast<size_t>(pixels);
    blend(top + from, bottom + from, weight, count, scratch.tile);
    // The right neighbour of the frame's last pixel is that pixel; its weight is zero, but it must
    // be a number.
    std::copy_n(scratch.tile + count - 3, 3, scratch.tile + count);
    scratch.tile[count + 3] = 0.0f;
    if (spec.color == Color::kGray) {
      pick<true>(scratch.tile, start, scratch.columns, begin, end, norm, row, offset);
    } else {
      pick<false>(scratch.tile, start, scratch.columns, begin, end, norm, row, offset);
    }
    begin = end;
  }
}

}  // namespace

Placement place(const InputSpec& spec, int32_t frame_height, int32_t frame_width) {
  const double fit_x = static_cast<double>(spec.width) / frame_width;
  const double fit_y = static_cast<double>(spec.height) / frame_height;
  int32_t width = spec.width;
  int32_t height = spec.height;
  if (spec.resize == Resize::kLetterbox) {
    const double fit = std::min(fit_x, fit_y);
    width = std::clamp(static_cast<int32_t>(std::lround(frame_width * fit)), 1, spec.width);
    height = std::clamp(static_cast<int32_t>(std::lround(frame_height * fit)), 1, spec.height);
  }
  return {static_cast<float>(static_cast<double>(width) / frame_width),
          static_cast<float>(static_cast<double>(height) / frame_height),
          static_cast<float>((spec.width - width) / 2),
          static_cast<float>((spec.height - height) / 2),
          width,
          height};
}

size_t preprocess_scratch_bytes(const InputSpec& spec) {
  return kTileBytes + static_cast<size_t>(spec.width) * sizeof(Sample);
}

void preprocess(const InputSpec& spec, const FrameView& frame, float* input, void* scratch) {
  const Placement placement = place(spec, frame.height, frame.width);
  const Normalisation norm = normalisation_of(spec);
  const Scratch space{static_cast<float*>(scratch),
                      reinterpret_cast<Sample*>(static_cast<uint8_t*>(scratch) + kTileBytes)};
  for (int32_t x = 0; x < placement.width; ++x)
    space.columns[x] = sample(x, placement.width, frame.width);

  const auto left = static_cast<int32_t>(placement.offset_x);
  const auto top = static_cast<int32_t>(placement.offset_y);
  for (int32_t y = 0; y < spec.height; ++y) {
    const Row row = row_of(spec, input, y);
    if (y < top || y >= top + placement.height) {
      fill(row, 0, spec.width, norm.pad);
      continue;
    }
    fill(row, 0, left, norm.pad);
    fill(row, left + placement.width, spec.width, norm.pad);
    const Sample line = sample(y - top, placement.height, frame.height);
    const uint8_t* const first = frame.data + line.first * frame.row_stride;
    const uint8_t* const second =
        frame.data + std::min(line.first + 1, frame.height - 1) * frame.row_stride;
    resample_row(spec, first, second, line.weight, frame.width, placement, norm, space, row);
  }
}

}  // namespace sanderling::vision
