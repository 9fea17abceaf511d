#include "api/handles.h"
#include "os/clock.h"
#include "os/float_env.h"

namespace sanderling {
namespace {

constexpr int32_t kMaxFrameSide = 32768;

// Holds a session for one call of the API.
class Hold {
 public:
  explicit Hold(sd_session* session)
      : session_(session->busy.exchange(true, std::memory_order_acquire) ? nullptr : session) {}
  ~Hold() {
    if (session_ != nullptr) session_->busy.store(false, std::memory_order_release);
  }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;
  bool ok() const { return session_ != nullptr; }

 private:
  sd_session* session_;
};

Status busy() {
  return Status::error(SD_INVALID_ARGUMENT,
                       "the session is busy on another thread: one run at a time");
}

Status check_pointers(const void* const* pointers, uint32_t count, const char* what) {
  if (pointers == nullptr) return null_argument(what);
  for (uint32_t i = 0; i < count; ++i) {
    if (pointers[i] == nullptr)
      return Status::error(SD_INVALID_ARGUMENT, "%s[%u] is NULL", what, i);
  }
  return {};
}

void run_on_pool(void* pool, uint32_t tasks, uint32_t grain, Parallel::Body body, void* context) {
  static_cast<Pool*>(pool)->run(tasks, grain, body, context);
}

// The real size of an output along its bounded dimension, after a run.
int64_t count_of(const sd_session& session, const TensorRecord& tensor) {
  int64_t count;
  const uint64_t offset = session.model->plan.buffers()[tensor.count].offset;
  std::memcpy(&count, session.arena.data() + offset, sizeof(count));
  return count;
}

Status check_counts(const sd_session& session) {
  const Plan& plan = session.model->plan;
  for (uint32_t i = plan.inputs(); i < plan.tensors().count; ++i) {
    const TensorRecord& tensor = plan.tensors()[i];
    if (tensor.bounded == 0) continue;
    const int64_t count = count_of(session, tensor), most = tensor.dims[tensor.bounded - 1];
    if (count < 0 || count > most) {
      return Status::error(SD_INTERNAL, "output '%s' has %ld elements of at most %ld",
                           plan.text(tensor.name), count, most);
    }
  }
  return {};
}

// The caller holds the session.
Status run(sd_session* session, const void* const* inputs, void* const* outputs,
           uint64_t* nanoseconds) {
  session->cancelled.store(false, std::memory_order_relaxed);
  session->has_run = false;
  session->executor.bind(inputs, outputs);
  const DefaultFloatEnv float_env;
  const auto clock = nanoseconds != nullptr ? monotonic_ns : nullptr;
  Pool* pool = session->pool.get();
  sd_status status;
  if (pool != nullptr && pool->threads() > 1) {
    const Parallel parallel{pool, run_on_pool};
    pool->begin();
    status = session->executor.run(&parallel, session->cancelled, clock, nanoseconds);
    pool->end();
  } else {
    status = session->executor.run(nullptr, session->cancelled, clock, nanoseconds);
  }
  if (status != SD_OK) return Status::error(status, "the run was cancelled");
  SD_TRY(check_counts(*session));
  session->has_run = true;
  return {};
}

Status output_dims(sd_session* session, size_t index, int64_t* dims) {
  if (session == nullptr || dims == nullptr) return null_argument("session or dims");
  const Plan& plan = session->model->plan;
  if (index >= plan.outputs())
    return Status::error(SD_INVALID_ARGUMENT, "output %zu does not exist", index);
  const Hold hold(session);
  if (!hold.ok()) return busy();
  const TensorRecord& tensor = plan.tensors()[plan.inputs() + uint32_t(index)];
  std::memcpy(dims, tensor.dims, tensor.rank * sizeof(int64_t));
  if (tensor.bounded == 0) return {};
  if (!session->has_run)
    return Status::error(SD_INVALID_ARGUMENT, "no run has ended well, so nothing has been counted");
  dims[tensor.bounded - 1] = count_of(*session, tensor);
  return {};
}

Status run_checked(sd_session* session, const void* const* inputs, void* const* outputs,
                   uint64_t* nanoseconds) {
  if (session == nullptr) return null_argument("session");
  SD_TRY(check_pointers(inputs, session->model->plan.inputs(), "inputs"));
  SD_TRY(check_pointers(outputs, session->model->plan.outputs(), "outputs"));
  const Hold hold(session);
  return hold.ok() ? run(session, inputs, outputs, nanoseconds) : busy();
}

// Input, outputs and the vision functions' scratch, one behind the other, each at a multiple of 64.
Status prepare_pipeline(sd_session* session) {
  const Plan& plan = session->model->plan;
  if (plan.pipeline() == nullptr) return {};
  Result<Pipeline> pipeline = resolve_pipeline(plan);
  if (!pipeline.ok()) return pipeline.status();
  session->pipeline = pipeline.value();
  const bool detects = session->pipeline.task == Task::kDetect;

  uint64_t size = 0;
  const auto reserve = [&size](uint64_t bytes) {
    const uint64_t offset = size;
    size += round_up(bytes, 64);
    return offset;
  };
  Result<Array<void*>> outputs = Array<void*>::allocate(plan.outputs(), "output buffers");
  Result<Array<vision::Level>> levels =
      Array<vision::Level>::allocate(session->pipeline.level_count, "levels");
  if (!outputs.ok()) return outputs.status();
  if (!levels.ok()) return levels.status();
  const uint64_t input = reserve(plan.tensors()[0].bytes);
  const uint64_t preprocess = reserve(vision::preprocess_scratch_bytes(session->pipeline.input));
  const uint64_t decode = reserve(detects ? vision::decode_scratch_bytes() : 0);
  const uint64_t first_output = size;
  for (uint32_t i = 0; i < plan.outputs(); ++i) reserve(plan.tensors()[plan.inputs() + i].bytes);

  Result<Pages> memory = Pages::allocate(size, "pipeline buffers");
  if (!memory.ok()) return memory.status();
  session->frame_memory = std::move(memory.value());
  uint8_t* base = session->frame_memory.data();
  session->input = reinterpret_cast<float*>(base + input);
  session->preprocess_scratch = base + preprocess;
  session->decode_scratch = base + decode;
  size = first_output;
  for (uint32_t i = 0; i < plan.outputs(); ++i) {
    outputs.value()[i] = base + reserve(plan.tensors()[plan.inputs() + i].bytes);
  }
  session->outputs = std::move(outputs.value());
  session->levels = std::move(levels.value());
  return {};
}

Status prepare(sd_session* session, sd_model* model, sd_pool* pool) {
  session->model = Ref<sd_model>::share(model);
  session->pool = Ref<Pool>::share(reinterpret_cast<Pool*>(pool));
  const PlanHeader& header = model->plan.header();
  const uint32_t threads = session->pool ? session->pool->threads() : 1;
  const uint64_t stride = round_up(header.scratch_bytes, 64);
  Result<Pages> arena = Pages::allocate(header.arena_bytes, "arena");
  if (!arena.ok()) return arena.status();
  Result<Pages> scratch = Pages::allocate(stride * threads, "scratch");
  if (!scratch.ok()) return scratch.status();
  session->arena = std::move(arena.value());
  session->scratch = std::move(scratch.value());
  Result<Executor> executor = Executor::prepare(
      model->plan, model->kernels.data(),
      {session->arena.data(), session->scratch.data(), stride, model->params.data, threads});
  if (!executor.ok()) return executor.status();
  session->executor = std::move(executor.value());
  return prepare_pipeline(session);
}

Status check_frame(const sd_session* session, int32_t height, int32_t width) {
  if (session == nullptr) return null_argument("session");
  if (session->model->plan.pipeline() == nullptr) {
    return Status::error(SD_INVALID_ARGUMENT, "the model has no pipeline: run it with tensors");
  }
  if (height < 1 || width < 1 || height > kMaxFrameSide || width > kMaxFrameSide) {
    return Status::error(SD_INVALID_ARGUMENT,
                         "a frame of %d x %d pixels; each side may have 1 to %d", width, height,
                         kMaxFrameSide);
  }
  return {};
}

Status check_pixels(const uint8_t* frame, int32_t width, int64_t row_stride) {
  if (frame == nullptr) return null_argument("frame");
  const int64_t row = int64_t{width} * 3;
  if (row_stride < row && row_stride > -row) {
    return Status::error(SD_INVALID_ARGUMENT, "row stride %ld; a row has %ld bytes", row_stride,
                         row);
  }
  return {};
}

Status check_floats(const void* pointer, const char* what) {
  if (pointer == nullptr) return null_argument(what);
  if (reinterpret_cast<uintptr_t>(pointer) % alignof(float) == 0) return {};
  return Status::error(SD_INVALID_ARGUMENT, "%s is not aligned for floats", what);
}

Status check_detections(const sd_session* session, float threshold, const sd_detection* detections,
                        size_t capacity, const size_t* count) {
  if (session->pipeline.task != Task::kDetect) {
    return Status::error(SD_INVALID_ARGUMENT, "the model classifies: it has no boxes");
  }
  if (count == nullptr || (detections == nullptr && capacity > 0))
    return null_argument("detections or count");
  if (threshold != threshold)
    return Status::error(SD_INVALID_ARGUMENT, "the score threshold is not a number");
  return {};
}

// The caller holds the session.
size_t decode(sd_session* session, const void* const* outputs, int32_t height, int32_t width,
              float threshold, sd_detection* detections, size_t capacity) {
  const Pipeline& pipeline = session->pipeline;
  const auto tensor = [outputs](uint32_t i) {
    return i == kNone ? nullptr : static_cast<const float*>(outputs[i]);
  };
  for (uint32_t i = 0; i < pipeline.level_count; ++i) {
    const PipelineLevel level = resolve_level(session->model->plan, pipeline, i);
    session->levels[i] = {level.stride,      level.height,      level.width,
                          tensor(level.cls), tensor(level.box), tensor(level.obj)};
  }
  const size_t count = vision::decode(pipeline.decode, session->levels.data(), pipeline.level_count,
                                      vision::place(pipeline.input, height, width), height, width,
                                      threshold < 0 ? pipeline.score_threshold : threshold,
                                      session->decode_scratch, detections, capacity);
  for (size_t i = 0; i < count; ++i) detections[i].label += int32_t(pipeline.first_label);
  return count;
}

Status preprocess_checked(sd_session* session, const vision::FrameView& frame, void* input) {
  SD_TRY(check_frame(session, frame.height, frame.width));
  SD_TRY(check_pixels(frame.data, frame.width, frame.row_stride));
  SD_TRY(check_floats(input, "input"));
  const Hold hold(session);
  if (!hold.ok()) return busy();
  vision::preprocess(session->pipeline.input, frame, static_cast<float*>(input),
                     session->preprocess_scratch);
  return {};
}

Status detect_checked(sd_session* session, const vision::FrameView& frame, float threshold,
                      sd_detection* detections, size_t capacity, size_t* count) {
  SD_TRY(check_frame(session, frame.height, frame.width));
  SD_TRY(check_pixels(frame.data, frame.width, frame.row_stride));
  SD_TRY(check_detections(session, threshold, detections, capacity, count));
  *count = 0;
  const Hold hold(session);
  if (!hold.ok()) return busy();
  vision::preprocess(session->pipeline.input, frame, session->input, session->preprocess_scratch);
  const void* input = session->input;
  SD_TRY(run(session, &input, session->outputs.data(), nullptr));
  *count = decode(session, session->outputs.data(), frame.height, frame.width, threshold,
                  detections, capacity);
  return {};
}

Status decode_checked(sd_session* session, const void* const* outputs, int32_t height,
                      int32_t width, float threshold, sd_detection* detections, size_t capacity,
                      size_t* count) {
  SD_TRY(check_frame(session, height, width));
  SD_TRY(check_detections(session, threshold, detections, capacity, count));
  *count = 0;
  const Plan& plan = session->model->plan;
  SD_TRY(check_pointers(outputs, plan.outputs(), "outputs"));
  for (uint32_t i = 0; i < plan.outputs(); ++i) SD_TRY(check_floats(outputs[i], "an output"));
  const Hold hold(session);
  if (!hold.ok()) return busy();
  *count = decode(session, outputs, height, width, threshold, detections, capacity);
  return {};
}

}  // namespace
}  // namespace sanderling

using sanderling::report;
using sanderling::Status;

extern "C" {

sd_status sd_session_create(sd_model* model, sd_pool* pool, sd_session** out, sd_error* error) {
  if (model == nullptr || out == nullptr)
    return report(sanderling::null_argument("model or out"), error);
  *out = nullptr;
  sd_session* session = sanderling::create<sd_session>();
  if (session == nullptr)
    return report(sanderling::out_of_memory(sizeof(sd_session), "session"), error);
  const Status status = sanderling::prepare(session, model, pool);
  if (status.ok()) {
    *out = session;
  } else {
    sanderling::destroy(session);
  }
  return report(status, error);
}

void sd_session_destroy(sd_session* session) { sanderling::destroy(session); }

sd_status sd_session_run(sd_session* session, const void* const* inputs, void* const* outputs,
                         sd_error* error) {
  return report(sanderling::run_checked(session, inputs, outputs, nullptr), error);
}

sd_status sd_session_output_dims(sd_session* session, size_t index, int64_t* dims,
                                 sd_error* error) {
  return report(sanderling::output_dims(session, index, dims), error);
}

sd_status sd_session_profile(sd_session* session, const void* const* inputs, void* const* outputs,
                             uint64_t* nanoseconds, sd_error* error) {
  if (nanoseconds == nullptr) return report(sanderling::null_argument("nanoseconds"), error);
  return report(sanderling::run_checked(session, inputs, outputs, nanoseconds), error);
}

void sd_session_cancel(sd_session* session) {
  if (session != nullptr) session->cancelled.store(true, std::memory_order_relaxed);
}

sd_status sd_session_preprocess(sd_session* session, const uint8_t* frame, int32_t height,
                                int32_t width, int64_t row_stride, void* input, sd_error* error) {
  return report(sanderling::preprocess_checked(session, {frame, height, width, row_stride}, input),
                error);
}

sd_status sd_session_detect(sd_session* session, const uint8_t* frame, int32_t height,
                            int32_t width, int64_t row_stride, float score_threshold,
                            sd_detection* detections, size_t capacity, size_t* count,
                            sd_error* error) {
  return report(sanderling::detect_checked(session, {frame, height, width, row_stride},
                                           score_threshold, detections, capacity, count),
                error);
}

sd_status sd_session_decode(sd_session* session, const void* const* outputs, int32_t height,
                            int32_t width, float score_threshold, sd_detection* detections,
                            size_t capacity, size_t* count, sd_error* error) {
  return report(sanderling::decode_checked(session, outputs, height, width, score_threshold,
                                           detections, capacity, count),
                error);
}

}  // extern "C"
