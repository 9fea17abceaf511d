// Memory, limits and determinism; the arithmetic is held to references in
// tests/runtime/test_vision.py.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "vision/decode.h"
#include "vision/preprocess.h"

using namespace sanderling::vision;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Exactly as many floats as asked for, on the heap, so that AddressSanitizer sees the first byte
// beyond.
std::unique_ptr<float[]> floats(size_t bytes, float value) {
  const size_t count = (bytes + sizeof(float) - 1) / sizeof(float);
  std::unique_ptr<float[]> result(new float[count]);
  std::fill_n(result.get(), count, value);
  return result;
}

InputSpec spec_of(int32_t height, int32_t width, bool nhwc, Color color, Resize resize) {
  return {height,    width, color == Color::kGray ? 1 : 3, nhwc, color, resize, {10, 20, 30},
          {2, 4, 8}, 114};
}

std::vector<float> prepare(const InputSpec& spec, const FrameView& frame, float in_scratch) {
  std::vector<float> input(static_cast<size_t>(spec.height) * spec.width * spec.channels, kNan);
  const auto scratch = floats(preprocess_scratch_bytes(spec), in_scratch);
  preprocess(spec, frame, input.data(), scratch.get());
  return input;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

struct Maps {
  std::vector<float> cls, box, obj;
};

constexpr int32_t kHeight = 6, kWidth = 9, kClasses = 3;
constexpr size_t kCells = size_t{kHeight} * kWidth;

// The same numbers read as each decoder wants them.
Level level_of(Decoder decoder, const Maps& maps, bool with_obj) {
  if (decoder == Decoder::kGridLtrbExp) {
    return {
        8, kHeight, kWidth, maps.cls.data(), maps.box.data(), with_obj ? maps.obj.data() : nullptr};
  }
  const bool yolo = decoder == Decoder::kYolo;
  return {1, 1, int32_t{kCells}, maps.cls.data(), yolo ? nullptr : maps.box.data(), nullptr};
}

Maps random_maps(std::mt19937* random, bool any_bits) {
  std::normal_distribution<float> normal(0, 2);
  const auto fill = [&](size_t count) {
    std::vector<float> values(count);
    for (float& value : values) {
      value = normal(*random);
      if (any_bits) {
        const uint32_t bits = (*random)();
        std::memcpy(&value, &bits, sizeof value);
      }
    }
    return values;
  };
  return {fill((4 + kClasses) * kCells), fill(4 * kCells), fill(kCells)};
}

std::vector<sd_detection> detect(const DecodeSpec& spec, const Level& level, size_t capacity,
                                 float threshold, float in_scratch) {
  const Placement placement =
      place(spec_of(48, 72, false, Color::kRgb, Resize::kLetterbox), 100, 90);
  std::vector<sd_detection> found(capacity);
  const auto scratch = std::make_unique<uint64_t[]>((decode_scratch_bytes() + 7) / 8);
  std::memset(scratch.get(), in_scratch == 0 ? 0 : 0xff, decode_scratch_bytes());
  found.resize(decode(spec, &level, 1, placement, 100, 90, threshold, scratch.get(), found.data(),
                      capacity));
  return found;
}

constexpr Decoder kDecoders[] = {Decoder::kGridLtrbExp, Decoder::kYolo, Decoder::kBoxesScores};
constexpr Score kScores[] = {Score::kNone, Score::kSigmoid, Score::kSoftmax};

}  // namespace

TEST_CASE(
    "preprocessing reads the frame, writes the input and nothing else, whatever scratch holds") {
  std::mt19937 random(1);
  const auto upto = [&](int32_t most) {
    return static_cast<int32_t>(random() % static_cast<uint32_t>(most)) + 1;
  };
  for (int round = 0; round < 300; ++round) {
    const int32_t height = upto(round % 10 == 0 ? 3000 : 40);
    const int32_t width = upto(round % 10 == 5 ? 3000 : 40);
    const int32_t stride = 3 * width + upto(9) - 1;
    // The last row ends where the memory does.
    const size_t size = static_cast<size_t>(height - 1) * stride + 3 * static_cast<size_t>(width);
    std::unique_ptr<uint8_t[]> pixels(new uint8_t[size]);
    for (size_t i = 0; i < size; ++i) pixels[i] = static_cast<uint8_t>(random());
    const InputSpec spec = spec_of(upto(40), upto(40), random() % 2 == 0,
                                   static_cast<Color>(upto(3)), static_cast<Resize>(upto(2)));
    const FrameView frame{pixels.get(), height, width, stride};
    const std::vector<float> input = prepare(spec, frame, 0);
    CHECK(same_bits(input, prepare(spec, frame, kNan)));
    for (const float value : input) REQUIRE(std::isfinite(value));

    const FrameView upside_down{pixels.get() + static_cast<size_t>(height - 1) * stride, height,
                                width, -stride};
    CHECK(prepare(spec, upside_down, 0).size() == input.size());
  }
}

TEST_CASE(
    "a frame of the input's size and one colour becomes that colour, normalised, in the model's "
    "order") {
  const uint8_t pixels[2 * 2 * 3] = {50, 60, 70, 50, 60, 70, 50, 60, 70, 50, 60, 70};
  const FrameView frame{pixels, 2, 2, 6};
  const auto of = [&](bool nhwc, Color color) {
    return prepare(spec_of(2, 2, nhwc, color, Resize::kLetterbox), frame, 0);
  };
  // (50 − 10) / 2, (60 − 20) / 4, (70 − 30) / 8, and with blue first (70 − 10) / 2, (60 − 20) / 4,
  // (50 − 30) / 8
  CHECK(of(false, Color::kRgb) == std::vector<float>{20, 20, 20, 20, 10, 10, 10, 10, 5, 5, 5, 5});
  CHECK(of(true, Color::kRgb) == std::vector<float>{20, 10, 5, 20, 10, 5, 20, 10, 5, 20, 10, 5});
  CHECK(of(true, Color::kBgr) ==
        std::vector<float>{30, 10, 2.5, 30, 10, 2.5, 30, 10, 2.5, 30, 10, 2.5});
  // 0.299 · 50 + 0.587 · 60 + 0.114 · 70 = 58.15
  for (const float value : of(false, Color::kGray))
    CHECK(value == doctest::Approx((58.15 - 10) / 2));
}

TEST_CASE("letterboxing centres the frame and pads with the normalised value") {
  const uint8_t pixels[3] = {114, 114, 114};
  const InputSpec spec = spec_of(3, 7, false, Color::kGray, Resize::kLetterbox);
  const Placement placement = place(spec, 1, 1);
  CHECK(placement.width == 3);
  CHECK(placement.height == 3);
  CHECK(placement.offset_x == 2);
  CHECK(placement.offset_y == 0);
  for (const float value : prepare(spec, {pixels, 1, 1, 3}, kNan))
    CHECK(value == doctest::Approx(52));
}

TEST_CASE("a side never vanishes, however thin the frame") {
  const Placement placement =
      place(spec_of(8, 8, false, Color::kRgb, Resize::kLetterbox), 1, 1000000);
  CHECK(placement.width == 8);
  CHECK(placement.height == 1);
}

TEST_CASE("any bits in the maps give boxes inside the frame, best first, the same each time") {
  std::mt19937 random(2);
  for (int round = 0; round < 200; ++round) {
    const Maps maps = random_maps(&random, round % 2 == 0);
    for (const Decoder decoder : kDecoders) {
      for (const Score score : kScores) {
        const DecodeSpec spec{decoder, score, kClasses, 0.5f, 50};
        const Level level = level_of(decoder, maps, round % 3 == 0);
        const std::vector<sd_detection> found = detect(spec, level, 64, 0.3f, 0);
        REQUIRE(found.size() <= 50);
        for (size_t i = 0; i < found.size(); ++i) {
          const sd_detection& d = found[i];
          const bool inside =
              0 <= d.x1 && d.x1 < d.x2 && d.x2 <= 90 && 0 <= d.y1 && d.y1 < d.y2 && d.y2 <= 100;
          REQUIRE(inside);
          REQUIRE(d.score >= 0.3f);
          REQUIRE((i == 0 || found[i - 1].score >= d.score));
          REQUIRE(0 <= d.label);
          REQUIRE(d.label < kClasses);
        }
        const std::vector<sd_detection> again = detect(spec, level, 64, 0.3f, 1);
        REQUIRE(again.size() == found.size());
        if (!found.empty()) {
          REQUIRE(std::memcmp(again.data(), found.data(), found.size() * sizeof(sd_detection)) ==
                  0);
        }
      }
    }
  }
}

TEST_CASE("a small capacity gets the best detections") {
  std::mt19937 random(3);
  const Maps maps = random_maps(&random, false);
  const DecodeSpec spec{Decoder::kGridLtrbExp, Score::kSigmoid, kClasses, 0.9f, 1000};
  const Level level = level_of(Decoder::kGridLtrbExp, maps, false);
  const std::vector<sd_detection> all = detect(spec, level, 1000, 0.1f, 0);
  REQUIRE(all.size() > 20);
  for (const size_t capacity : {size_t{0}, size_t{1}, size_t{7}, all.size() + 1}) {
    const std::vector<sd_detection> some = detect(spec, level, capacity, 0.1f, 0);
    REQUIRE(some.size() == std::min(capacity, all.size()));
    for (size_t i = 0; i < some.size(); ++i) CHECK(some[i].score == all[i].score);
  }
}

TEST_CASE("the threshold itself is included, NaN excludes everything, nothing is below zero") {
  Maps maps{std::vector<float>(kClasses * kCells, 0.0f),
            std::vector<float>(4 * kCells, 3.0f),
            {}};  // e³ · 8 pixels reach the frame
  const DecodeSpec spec{Decoder::kGridLtrbExp, Score::kSigmoid, kClasses, 1.0f, 1000};
  const Level level = level_of(Decoder::kGridLtrbExp, maps, false);
  CHECK(detect(spec, level, 1000, 0.5f, 0).size() == kClasses * kCells);  // sigmoid(0) = ½
  CHECK(detect(spec, level, 1000, std::nextafter(0.5f, 1.0f), 0).empty());
  CHECK(detect(spec, level, 1000, kNan, 0).empty());
  maps.cls.assign(maps.cls.size(), 100.0f);
  CHECK(detect(spec, level_of(Decoder::kGridLtrbExp, maps, false), 1000, 1.0f, 0).size() ==
        kClasses * kCells);
}
