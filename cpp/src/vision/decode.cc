#include "vision/decode.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace sanderling::vision {
namespace {

struct Box {
  float x1, y1, x2, y2;
};

// A detection before suppression; its box is in frame pixels, not clipped. `order` breaks ties of
// equal scores.
struct Candidate {
  Box box;
  float score;
  int32_t label;
  uint64_t order;
};

bool better(const Candidate& a, const Candidate& b) {
  return a.score != b.score ? a.score > b.score : a.order < b.order;
}

// Keeps the best kMaxCandidates of any number of candidates: when twice as many have gathered, half
// are dropped.
class Candidates {
 public:
  explicit Candidates(void* memory) : items_(static_cast<Candidate*>(memory)) {}

  void add(const Candidate& candidate) {
    if (size_ == kCapacity) keep_best();
    items_[size_++] = candidate;
  }

  void keep_best() {
    if (size_ <= kMaxCandidates) return;
    std::nth_element(items_, items_ + kMaxCandidates, items_ + size_, better);
    size_ = kMaxCandidates;
  }

  Candidate* begin() { return items_; }
  Candidate* end() { return items_ + size_; }

  static constexpr size_t kCapacity = 2 * kMaxCandidates;

 private:
  Candidate* items_;
  size_t size_ = 0;
};

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

// The smallest raw value whose score can reach `threshold`, a little low so that rounding drops
// nothing; the score itself decides. Softmax has no such bound.
float cut_of(Score score, float threshold) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  if (std::isnan(threshold)) return threshold;
  if (threshold <= 0.0f || score == Score::kSoftmax) return kNone;
  if (score == Score::kNone) return threshold;
  const double t = std::min(static_cast<double>(threshold), 1.0 - 1e-7);
  return static_cast<float>(std::log(t / (1.0 - t)) - 1e-3);
}

// Calls visit(i) for every values[i] ≥ cut, in order. Blocks without any, nearly all of them, cost
// one vector compare.
template <typename Visit>
void scan(const float* values, size_t count, float cut, Visit visit) {
  constexpr size_t kBlock = 32;
  size_t i = 0;
  for (; i + kBlock <= count; i += kBlock) {
    uint32_t any = 0;
    for (size_t j = 0; j < kBlock; ++j) any |= static_cast<uint32_t>(values[i + j] >= cut);
    if (any == 0) continue;
    for (size_t j = i; j < i + kBlock; ++j) {
      if (values[j] >= cut) visit(j);
    }
  }
  for (; i < count; ++i) {
    if (values[i] >= cut) visit(i);
  }
}

// How the values of one level lie in memory: location `l` (a cell, or an anchor) and class or
// coordinate `k`.
struct Layout {
  size_t locations;
  size_t location_step, class_step;
  const float* cls;

  float at(size_t location, size_t k) const {
    return cls[location * location_step + k * class_step];
  }
};

Layout layout_of(Decoder decoder, int32_t classes, const Level& level) {
  const size_t locations = static_cast<size_t>(level.height) * static_cast<size_t>(level.width);
  if (decoder == Decoder::kBoxesScores)
    return {locations, static_cast<size_t>(classes), 1, level.cls};
  const size_t skip = decoder == Decoder::kYolo ? 4 * locations : 0;
  return {locations, 1, locations, level.cls + skip};
}

// The box of one location in pixels of the model's input.
Box box_of(Decoder decoder, const Level& level, size_t location, size_t locations) {
  if (decoder == Decoder::kBoxesScores) {
    const float* const b = level.box + 4 * location;
    return {b[0], b[1], b[2], b[3]};
  }
  const float* const b = (decoder == Decoder::kYolo ? level.cls : level.box) + location;
  const float v[4] = {b[0], b[locations], b[2 * locations], b[3 * locations]};
  if (decoder == Decoder::kYolo) {
    return {v[0] - 0.5f * v[2], v[1] - 0.5f * v[3], v[0] + 0.5f * v[2], v[1] + 0.5f * v[3]};
  }
  const auto stride = static_cast<float>(level.stride);
  const auto width = static_cast<size_t>(level.width);
  const float x = (static_cast<float>(location % width) + 0.5f) * stride;
  const float y = (static_cast<float>(location / width) + 0.5f) * stride;
  return {x - std::exp(v[0]) * stride, y - std::exp(v[1]) * stride, x + std::exp(v[2]) * stride,
          y + std::exp(v[3]) * stride};
}

Box to_frame(const Box& box, const Placement& p) {
  return {(box.x1 - p.offset_x) / p.scale_x, (box.y1 - p.offset_y) / p.scale_y,
          (box.x2 - p.offset_x) / p.scale_x, (box.y2 - p.offset_y) / p.scale_y};
}

Box clip(const Box& box, int32_t height, int32_t width) {
  const auto w = static_cast<float>(width);
  const auto h = static_cast<float>(height);
  return {std::clamp(box.x1, 0.0f, w), std::clamp(box.y1, 0.0f, h), std::clamp(box.x2, 0.0f, w),
          std::clamp(box.y2, 0.0f, h)};
}

// False for boxes with NaN, too, because a comparison with NaN is false.
bool has_area(const Box& box) { return box.x1 < box.x2 && box.y1 < box.y2; }

bool overlap(const Box& a, const Box& b, float limit) {
  const float width = std::min(a.x2, b.x2) - std::max(a.x1, b.x1);
  const float height = std::min(a.y2, b.y2) - std::max(a.y1, b.y1);
  if (width <= 0.0f || height <= 0.0f) return false;
  const float common = width * height;
  const float all = (a.x2 - a.x1) * (a.y2 - a.y1) + (b.x2 - b.x1) * (b.y2 - b.y1) - common;
  return common > limit * all;
}

class Collector {
 public:
  Collector(const DecodeSpec& spec, const Placement& placement, int32_t height, int32_t width,
            float threshold, Candidates* out)
      : spec_(spec),
        placement_(placement),
        height_(height),
        width_(width),
        threshold_(threshold),
        out_(out) {}

  void collect(const Level& level) {
    const Layout layout = layout_of(spec_.decoder, spec_.classes, level);
    if (spec_.score == Score::kSoftmax) {
      collect_softmax(level, layout);
    } else {
      collect_independent(level, layout);
    }
    first_ += layout.locations;
  }

 private:
  void collect_independent(const Level& level, const Layout& layout) {
    const float cut = cut_of(spec_.score, threshold_);
    const float obj_cut = cut_of(Score::kSigmoid, threshold_);
    const auto classes = static_cast<size_t>(spec_.classes);
    scan(layout.cls, layout.locations * classes, cut, [&](size_t i) {
      const bool planes = layout.location_step == 1;
      const size_t location = planes ? i % layout.locations : i / classes;
      const size_t label = planes ? i / layout.locations : i % classes;
      if (level.obj != nullptr && !(level.obj[location] >= obj_cut)) return;
      const float raw = layout.cls[i];
      add(level, layout, location, label, spec_.score == Score::kSigmoid ? sigmoid(raw) : raw);
    });
  }

  void collect_softmax(const Level& level, const Layout& layout) {
    const auto classes = static_cast<size_t>(spec_.classes);
    for (size_t location = 0; location < layout.locations; ++location) {
      float largest = layout.at(location, 0);
      for (size_t k = 1; k < classes; ++k) largest = std::max(largest, layout.at(location, k));
      float sum = 0.0f;
      for (size_t k = 0; k < classes; ++k) sum += std::exp(layout.at(location, k) - largest);
      for (size_t k = 0; k < classes; ++k) {
        add(level, layout, location, k, std::exp(layout.at(location, k) - largest) / sum);
      }
    }
  }

  void add(const Level& level, const Layout& layout, size_t location, size_t label, float score) {
    if (level.obj != nullptr) score *= sigmoid(level.obj[location]);
    if (!(score >= threshold_)) return;
    const Box box = to_frame(box_of(spec_.decoder, level, location, layout.locations), placement_);
    if (!has_area(box) || !has_area(clip(box, height_, width_))) return;
    const uint64_t order = (first_ + location) * static_cast<uint64_t>(spec_.classes) + label;
    out_->add({box, score, static_cast<int32_t>(label), order});
  }

  const DecodeSpec& spec_;
  const Placement& placement_;
  const int32_t height_, width_;
  const float threshold_;
  Candidates* const out_;
  uint64_t first_ = 0;  // locations in the levels before this one
};

// Greedy, by class. Moves the survivors to the front, in order, and returns how many there are.
size_t suppress(Candidate* begin, Candidate* end, float limit, size_t most) {
  size_t kept = 0;
  for (Candidate* it = begin; it != end && kept < most; ++it) {
    const bool hidden = std::any_of(begin, begin + kept, [&](const Candidate& other) {
      return other.label == it->label && overlap(other.box, it->box, limit);
    });
    if (!hidden) begin[kept++] = *it;
  }
  return kept;
}

}  // namespace

size_t decode_scratch_bytes() { return Candidates::kCapacity * sizeof(Candidate); }

size_t decode(const DecodeSpec& spec, const Level* levels, size_t level_count,
              const Placement& placement, int32_t frame_height, int32_t frame_width,
              float threshold, void* scratch, sd_detection* detections, size_t capacity) {
  Candidates candidates(scratch);
  Collector collector(spec, placement, frame_height, frame_width, threshold, &candidates);
  for (size_t i = 0; i < level_count; ++i) collector.collect(levels[i]);
  candidates.keep_best();
  std::sort(candidates.begin(), candidates.end(), better);

  const size_t most = std::min(capacity, static_cast<size_t>(std::max(spec.max_detections, 0)));
  const size_t count = suppress(candidates.begin(), candidates.end(), spec.nms_iou, most);
  for (size_t i = 0; i < count; ++i) {
    const Candidate& kept = candidates.begin()[i];
    const Box box = clip(kept.box, frame_height, frame_width);
    detections[i] = {box.x1, box.y1, box.x2, box.y2, kept.score, kept.label};
  }
  return count;
}

}  // namespace sanderling::vision
