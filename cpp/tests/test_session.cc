// Running: right results, the same for any number of threads, and every way to be asked for
// something else.
#include <doctest/doctest.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <thread>

#include "loading.h"
#include "os/clock.h"

using namespace builder;
using namespace sanderling;

namespace {

std::vector<float> ramp(size_t size) {
  std::vector<float> values(size);
  for (size_t i = 0; i < size; ++i) values[i] = float(i) * 0.37F - 5;
  return values;
}

// What the small plan computes.
std::vector<float> expected_of(const std::vector<float>& x) {
  std::vector<float> y(x.size());
  for (size_t i = 0; i < x.size(); ++i) y[i / 8 * 8 + 7 - i % 8] = (x[i] * 2 + 1) * 2 + 1;
  return y;
}

sd_status run(const Session& session, const std::vector<float>& x, std::vector<float>* y,
              sd_error* error = nullptr) {
  const void* inputs[] = {x.data()};
  void* outputs[] = {y->data()};
  return sd_session_run(session.get(), inputs, outputs, error);
}

// The small plan with more tasks, so that there is something to share.
PlanParts large_plan(uint32_t tasks) {
  PlanParts plan = small_plan();
  const uint64_t bytes = uint64_t{tasks} * 32;
  for (TensorRecord& tensor : plan.tensors) tensor.dims[1] = tasks, tensor.bytes = bytes;
  for (CallRecord& call : plan.calls) call.tasks = tasks;
  for (ArgRecord& arg : plan.args) {
    if (arg.size == 128) arg.size = bytes;
  }
  for (BufferRecord& buffer : plan.buffers) {
    buffer.size = bytes;
    if (buffer.offset != 0) buffer.offset = round_up(bytes, 64);
  }
  plan.arena_bytes = 2 * round_up(bytes, 64);
  return plan;
}

// One call of the slow kernel after another.
PlanParts slow_plan(int calls) {
  PlanParts plan = small_plan();
  plan.kernels.push_back(plan.text("slow"));
  plan.calls.clear();
  plan.args.clear();
  plan.buffers.clear();
  for (int i = 0; i < calls; ++i)
    plan.call(3, 4, {caller(Place::kInput, 0, 128), caller(Place::kOutput, 1, 128)});
  return plan;
}

}  // namespace

TEST_CASE("a run gives what the kernels compute") {
  const Session session = session_of(load_good(small_plan()));
  for (int i = 0; i < 3; ++i) {
    const std::vector<float> x = ramp(32);
    std::vector<float> y(32);
    REQUIRE(run(session, x, &y) == SD_OK);
    CHECK(y == expected_of(x));
  }
}

TEST_CASE("results are the same for any number of threads") {
  const Model model = load_good(large_plan(1000));
  const std::vector<float> x = ramp(8000);
  for (const int threads : {1, 2, 3, 8}) {
    const Pool pool = pool_of(threads);
    CHECK(sd_pool_threads(pool.get()) == threads);
    const Session session = session_of(model, pool.get());
    for (int i = 0; i < 20; ++i) {
      std::vector<float> y(8000);
      REQUIRE(run(session, x, &y) == SD_OK);
      REQUIRE(y == expected_of(x));
    }
  }
}

// Kernels of real packages take any address; those of the tests are plain C, which wants floats
// aligned.
TEST_CASE("inputs and outputs may lie at any multiple of four") {
  const Session session = session_of(load_good(small_plan()));
  const std::vector<float> x = ramp(32);
  alignas(64) char in[256], out[256];
  for (int offset = 0; offset < 64; offset += 4) {
    std::memcpy(in + offset, x.data(), 128);
    const void* inputs[] = {in + offset};
    void* outputs[] = {out + 64 - offset};
    REQUIRE(sd_session_run(session.get(), inputs, outputs, nullptr) == SD_OK);
    CHECK(std::memcmp(out + 64 - offset, expected_of(x).data(), 128) == 0);
  }
}

TEST_CASE("kernels have from none to 24 arguments") {
  PlanParts plan = small_plan();
  plan.kernels = {plan.text("nothing"), plan.text("widest")};
  plan.calls.clear();
  plan.args.clear();
  plan.buffers.clear();
  plan.call(0, 4, {});
  std::vector<ArgRecord> args(23, caller(Place::kInput, 0, 128));
  args.push_back(caller(Place::kOutput, 1, 128));
  plan.call(1, 4, args);
  const Session session = session_of(load_good(plan));
  const std::vector<float> x(32, 3);
  std::vector<float> y(32);
  REQUIRE(run(session, x, &y) == SD_OK);
  CHECK(y == std::vector<float>(32, 69));
}

TEST_CASE("NaN and infinity pass through") {
  const Session session = session_of(load_good(small_plan()));
  std::vector<float> x = ramp(32), y(32);
  x[0] = NAN;
  x[1] = INFINITY;
  REQUIRE(run(session, x, &y) == SD_OK);
  CHECK(std::isnan(y[7]));
  CHECK(std::isinf(y[6]));
}

TEST_CASE("sessions of one model on one pool may run at the same time") {
  const Model model = load_good(large_plan(200));
  const Pool pool = pool_of(3);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      const Session session = session_of(model, pool.get());
      std::vector<float> x = ramp(1600), y(1600);
      for (float& value : x) value += float(i);
      for (int n = 0; n < 200; ++n) wrong += run(session, x, &y) != SD_OK || y != expected_of(x);
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

TEST_CASE("a session runs once at a time") {
  const Session session = session_of(load_good(slow_plan(20)));
  const std::vector<float> x = ramp(32);
  std::atomic<int> good{0}, busy{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      std::vector<float> y(32);
      sd_error error;
      const sd_status status = run(session, x, &y, &error);
      good += status == SD_OK;
      busy += status == SD_INVALID_ARGUMENT && std::strstr(error.message, "busy") != nullptr;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(good >= 1);
  CHECK(good + busy == 3);
}

TEST_CASE("a run is cancelled between two calls, and the next one is whole") {
  const Model model = load_good(slow_plan(2000));
  for (const int threads : {1, 2}) {
    const Pool pool = pool_of(threads);
    const Session session = session_of(model, pool.get());
    const std::vector<float> x = ramp(32);
    std::vector<float> y(32);
    std::atomic<int> status{-1};
    sd_error error;
    std::thread runner([&] { status = run(session, x, &y, &error); });
    while (status == -1) {  // again and again: a cancellation before the run begins does not count
      sd_session_cancel(session.get());
      std::this_thread::yield();
    }
    runner.join();
    CHECK(status == SD_CANCELLED);
    CHECK(std::string(error.message) == "the run was cancelled");
  }
  const Session session = session_of(load_good(small_plan()));
  sd_session_cancel(session.get());
  std::vector<float> y(32);
  CHECK(run(session, ramp(32), &y) == SD_OK);
}

TEST_CASE("a profile has the time of every call") {
  const Model model = load_good(slow_plan(3));
  const Session session = session_of(model);
  const std::vector<float> x = ramp(32);
  std::vector<float> y(32);
  const void* inputs[] = {x.data()};
  void* outputs[] = {y.data()};
  std::vector<uint64_t> nanoseconds(sd_model_call_count(model.get()));
  const uint64_t begin = monotonic_ns();
  REQUIRE(sd_session_profile(session.get(), inputs, outputs, nanoseconds.data(), nullptr) == SD_OK);
  const uint64_t elapsed = monotonic_ns() - begin;
  uint64_t sum = 0;
  for (const uint64_t each : nanoseconds) {
    CHECK(each > 0);
    sum += each;
  }
  CHECK(sum <= elapsed);
  CHECK(y == x);
  CHECK(sd_session_profile(session.get(), inputs, outputs, nullptr, nullptr) ==
        SD_INVALID_ARGUMENT);
}

TEST_CASE("missing arrays are errors, and nothing runs") {
  const Session session = session_of(load_good(small_plan()));
  float value = 0;
  const void* inputs[] = {nullptr};
  void* outputs[] = {&value};
  sd_error error;
  CHECK(sd_session_run(session.get(), nullptr, outputs, &error) == SD_INVALID_ARGUMENT);
  CHECK(sd_session_run(session.get(), inputs, nullptr, &error) == SD_INVALID_ARGUMENT);
  CHECK(sd_session_run(session.get(), inputs, outputs, &error) == SD_INVALID_ARGUMENT);
  CHECK(std::string(error.message) == "inputs[0] is NULL");
}

TEST_CASE("flush-to-zero of the calling thread changes no result") {
#if defined(__x86_64__)
  const Session session = session_of(load_good(small_plan()));
  std::vector<float> x(32, 1e-39F), y(32);  // subnormal
  PlanParts plan = small_plan();
  const Session scaled = session_of(load_good(plan, floats({1, 0})));
  const unsigned before = __builtin_ia32_stmxcsr();
  __builtin_ia32_ldmxcsr(before | 0x8040);
  const sd_status status = run(scaled, x, &y);
  const unsigned after = __builtin_ia32_stmxcsr();
  __builtin_ia32_ldmxcsr(before);
  REQUIRE(status == SD_OK);
  CHECK((after & 0x8040) == 0x8040);
  CHECK(y[0] == x[0]);
#endif
}

TEST_CASE("a session keeps its model and pool alive") {
  Session session;
  {
    const Model model = load_good(large_plan(64));
    const Pool pool = pool_of(2);
    session = session_of(model, pool.get());
  }
  const std::vector<float> x = ramp(512);
  std::vector<float> y(512);
  REQUIRE(run(session, x, &y) == SD_OK);
  CHECK(y == expected_of(x));
}

TEST_CASE("an arena that is not used costs no memory") {
  PlanParts plan = small_plan();
  plan.arena_bytes = 2ULL << 30;
  std::vector<float> x = ramp(32), y(32);
  const Session session = session_of(load_good(plan));
  REQUIRE(run(session, x, &y) == SD_OK);
  CHECK(y == expected_of(x));
}

TEST_CASE("detect goes from a frame to boxes in it") {
  // The plan copies the first values of the image to class scores, later ones to box distances.
  const Model model = load_good(detector_plan());
  const Session session = session_of(model);
  std::vector<uint8_t> frame(32 * 32 * 3, 64);
  std::vector<sd_detection> found(10);
  size_t count = 99;
  sd_error error;
  const auto detect = [&](float threshold) {
    return sd_session_detect(session.get(), frame.data(), 32, 32, 96, threshold, found.data(),
                             found.size(), &count, &error);
  };
  REQUIRE(detect(-1) == SD_OK);
  CHECK(count > 0);  // sigmoid(1) everywhere
  CHECK(count <= 10);
  for (size_t i = 0; i < count; ++i) {
    CHECK(found[i].score == doctest::Approx(1 / (1 + std::exp(-1.0))));
    CHECK(found[i].x1 >= 0);
    CHECK(found[i].x2 <= 32);
    CHECK(found[i].x1 < found[i].x2);
    CHECK(sd_model_label(model.get(), size_t(found[i].label)) != nullptr);
  }
  REQUIRE(detect(0.99F) == SD_OK);
  CHECK(count == 0);

  // The three steps one by one give the same.
  std::vector<float> input(3 * 16 * 16), cls(32), box(64);
  REQUIRE(sd_session_preprocess(session.get(), frame.data(), 32, 32, 96, input.data(), &error) ==
          SD_OK);
  CHECK(input[0] == 1);
  const void* inputs[] = {input.data()};
  void* outputs[] = {cls.data(), box.data()};
  REQUIRE(sd_session_run(session.get(), inputs, outputs, &error) == SD_OK);
  std::vector<sd_detection> again(10);
  size_t again_count = 0;
  REQUIRE(sd_session_decode(session.get(), outputs, 32, 32, -1, again.data(), again.size(),
                            &again_count, &error) == SD_OK);
  REQUIRE(detect(-1) == SD_OK);
  REQUIRE(again_count == count);
  CHECK(std::memcmp(again.data(), found.data(), count * sizeof(sd_detection)) == 0);
}

TEST_CASE("frames and thresholds that cannot be meant are errors") {
  const Session session = session_of(load_good(detector_plan()));
  const Session plain = session_of(load_good(small_plan()));
  std::vector<uint8_t> frame(300);
  sd_detection found[4];
  size_t count = 0;
  struct Row {
    const char* name;
    const uint8_t* frame;
    int32_t height, width;
    int64_t stride;
    float threshold;
    const char* message;
  };
  const Row rows[] = {
      {"no frame", nullptr, 10, 10, 30, -1, "frame is NULL"},
      {"no row", frame.data(), 0, 10, 30, -1, "a frame of 10 x 0"},
      {"negative width", frame.data(), 10, -1, 30, -1, "a frame of -1 x 10"},
      {"side of 2^31-1", frame.data(), INT32_MAX, INT32_MAX, 30, -1, "a frame of"},
      {"stride too small", frame.data(), 10, 10, 29, -1, "row stride 29"},
      {"stride 0", frame.data(), 10, 10, 0, -1, "row stride 0"},
      {"threshold NaN", frame.data(), 10, 10, 30, NAN, "not a number"},
  };
  for (const Row& row : rows) {
    CAPTURE(std::string(row.name));
    sd_error error;
    CHECK(sd_session_detect(session.get(), row.frame, row.height, row.width, row.stride,
                            row.threshold, found, 4, &count, &error) == SD_INVALID_ARGUMENT);
    CHECK(std::string(error.message).find(row.message) != std::string::npos);
  }
  sd_error error;
  CHECK(sd_session_detect(plain.get(), frame.data(), 10, 10, 30, -1, found, 4, &count, &error) ==
        SD_INVALID_ARGUMENT);
  CHECK(std::string(error.message).find("no pipeline") != std::string::npos);
  CHECK(sd_session_detect(session.get(), frame.data(), 10, 10, 30, -1, nullptr, 4, &count,
                          &error) == SD_INVALID_ARGUMENT);
  CHECK(sd_session_detect(session.get(), frame.data(), 10, 10, 30, -1, nullptr, 0, &count,
                          &error) == SD_OK);
  CHECK(count == 0);
  alignas(4) char input[4 * 768 + 4];
  CHECK(sd_session_preprocess(session.get(), frame.data(), 10, 10, 30, input + 1, &error) ==
        SD_INVALID_ARGUMENT);
}

TEST_CASE("a classifier has a frame, but no boxes") {
  PlanParts plan = detector_plan();
  plan.pipelines[0].task = 2;
  plan.pipelines[0].decode = plan.pipelines[0].level_count = 0;
  const Session session = session_of(load_good(plan));
  std::vector<uint8_t> frame(300);
  std::vector<float> input(768);
  sd_detection found[4];
  size_t count = 0;
  sd_error error;
  CHECK(sd_session_preprocess(session.get(), frame.data(), 10, 10, 30, input.data(), &error) ==
        SD_OK);
  CHECK(sd_session_detect(session.get(), frame.data(), 10, 10, 30, -1, found, 4, &count, &error) ==
        SD_INVALID_ARGUMENT);
  CHECK(std::string(error.message).find("classifies") != std::string::npos);
}

TEST_CASE("the shape of a bounded output is that of the last run, none or all of it included") {
  const Model model = load_good(bounded_plan());
  sd_tensor_info info;
  REQUIRE(sd_model_output(model.get(), 0, &info, nullptr) == SD_OK);
  CHECK(info.bounded == 1);
  REQUIRE(sd_model_input(model.get(), 0, &info, nullptr) == SD_OK);
  CHECK(info.bounded == -1);
  const Session session = session_of(model);
  int64_t dims[8] = {};
  sd_error error;
  CHECK(sd_session_output_dims(session.get(), 0, dims, &error) == SD_INVALID_ARGUMENT);
  CHECK(std::string(error.message).find("no run") != std::string::npos);
  std::vector<float> x = ramp(32), y(32);
  for (const int count : {3, 0, 4, 1}) {
    x[0] = float(count);
    REQUIRE(run(session, x, &y) == SD_OK);
    REQUIRE(sd_session_output_dims(session.get(), 0, dims, &error) == SD_OK);
    CHECK(std::vector<int64_t>(dims, dims + 3) == std::vector<int64_t>{1, count, 8});
    CHECK(y == x);
  }
}

TEST_CASE("a count outside the bound ends the run with an error, and there is no shape to be had") {
  const Session session = session_of(load_good(bounded_plan()));
  std::vector<float> x = ramp(32), y(32);
  for (const int count : {5, -1}) {
    x[0] = 2;
    REQUIRE(run(session, x, &y) == SD_OK);
    x[0] = float(count);
    sd_error error;
    CHECK(run(session, x, &y, &error) == SD_INTERNAL);
    CHECK(std::string(error.message).find("of at most 4") != std::string::npos);
    int64_t dims[8];
    CHECK(sd_session_output_dims(session.get(), 0, dims, nullptr) == SD_INVALID_ARGUMENT);
  }
}

TEST_CASE("output shapes: what cannot be meant is refused, fixed ones are known before any run") {
  const Session session = session_of(load_good(small_plan()));
  int64_t dims[8] = {};
  CHECK(sd_session_output_dims(session.get(), 0, dims, nullptr) == SD_OK);
  CHECK(std::vector<int64_t>(dims, dims + 3) == std::vector<int64_t>{1, 4, 8});
  CHECK(sd_session_output_dims(session.get(), 1, dims, nullptr) == SD_INVALID_ARGUMENT);
  CHECK(sd_session_output_dims(session.get(), SIZE_MAX, dims, nullptr) == SD_INVALID_ARGUMENT);
  CHECK(sd_session_output_dims(nullptr, 0, dims, nullptr) == SD_INVALID_ARGUMENT);
  CHECK(sd_session_output_dims(session.get(), 0, nullptr, nullptr) == SD_INVALID_ARGUMENT);
}
