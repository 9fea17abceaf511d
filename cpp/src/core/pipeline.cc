#include "core/pipeline.h"

#include <cmath>

namespace sanderling {
namespace {

constexpr uint32_t kMaxDetections = 65536;
constexpr uint32_t kMaxStride = 65536;

bool between(uint32_t value, uint32_t low, uint32_t high) { return value >= low && value <= high; }

// [1,C,H,W], or [1,H,W,C] when only the last dimension can be the channels.
Status resolve_input(const Plan& plan, const PipelineRecord& record, vision::InputSpec* spec) {
  if (plan.inputs() != 1 || record.input != 0)
    return bad("PIPELINE: tensor %u is not the model's only input", record.input);
  const TensorRecord& tensor = plan.tensors()[record.input];
  if (!between(record.color, 1, 3)) return bad("PIPELINE: color %u is unknown", record.color);
  if (!between(record.resize, 1, 2)) return bad("PIPELINE: resize %u is unknown", record.resize);
  const int64_t channels = record.color == uint32_t(vision::Color::kGray) ? 1 : 3;
  const bool nchw = tensor.dims[1] == channels;
  if (tensor.dtype != SD_FLOAT32 || tensor.rank != 4 || tensor.dims[0] != 1 ||
      (!nchw && tensor.dims[3] != channels)) {
    return bad("PIPELINE: input '%s' is not float32 [1,%d,height,width] or [1,height,width,%d]",
               plan.text(tensor.name), int(channels), int(channels));
  }
  spec->channels = int32_t(channels);
  spec->nhwc = !nchw;
  spec->height =
      int32_t(tensor.dims[nchw ? 2 : 1]);  // a tensor has at most 4 GiB, so any dimension fits
  spec->width = int32_t(tensor.dims[nchw ? 3 : 2]);
  spec->color = static_cast<vision::Color>(record.color);
  spec->resize = static_cast<vision::Resize>(record.resize);
  spec->pad_value = record.pad_value;
  if (!std::isfinite(record.pad_value)) return bad("PIPELINE: pad value is not finite");
  for (int i = 0; i < 3; ++i) {
    if (!std::isfinite(record.mean[i])) return bad("PIPELINE: mean is not finite");
    if (!std::isnormal(record.std[i]) || record.std[i] < 0)
      return bad("PIPELINE: std is not a positive number");
    spec->mean[i] = record.mean[i];
    spec->std[i] = record.std[i];
  }
  return {};
}

// An output that is float32 [1,…] of this rank and of fixed size; null if `index` is no such
// tensor.
const TensorRecord* float_output(const Plan& plan, uint32_t index, uint32_t rank) {
  if (index < plan.inputs() || index >= plan.tensors().count) return nullptr;
  const TensorRecord& tensor = plan.tensors()[index];
  const bool fits = tensor.dtype == SD_FLOAT32 && tensor.rank == rank && tensor.dims[0] == 1;
  return fits && tensor.bounded == 0 ? &tensor : nullptr;
}

bool has_dims(const TensorRecord* tensor, int64_t a, int64_t b, int64_t c = 0) {
  return tensor != nullptr && tensor->dims[1] == a && tensor->dims[2] == b &&
         (c == 0 || tensor->dims[3] == c);
}

// The number of classes of one level; an error if its tensors are not what `decoder` wants.
Result<int64_t> classes_of(const Plan& plan, const LevelRecord& level, vision::Decoder decoder,
                           uint32_t i) {
  const uint32_t rank = decoder == vision::Decoder::kGridLtrbExp ? 4 : 3;
  const TensorRecord* cls = float_output(plan, level.cls, rank);
  const TensorRecord* box = float_output(plan, level.box, rank);
  if (!between(level.stride, 1, kMaxStride))
    return bad("PIPELINE: level %u has stride %u", i, level.stride);
  if (cls == nullptr)
    return bad("PIPELINE: level %u: class tensor %u is no float32 output of rank %u", i, level.cls,
               rank);
  switch (decoder) {
    case vision::Decoder::kGridLtrbExp: {
      if (!has_dims(box, 4, cls->dims[2], cls->dims[3]))
        return bad("PIPELINE: level %u: its box tensor is not [1,4,H,W]", i);
      const bool obj_fits = level.obj == kNone || has_dims(float_output(plan, level.obj, rank), 1,
                                                           cls->dims[2], cls->dims[3]);
      if (!obj_fits) return bad("PIPELINE: level %u: its objectness tensor is not [1,1,H,W]", i);
      return cls->dims[1];
    }
    case vision::Decoder::kYolo:
      if (level.box != kNone || level.obj != kNone)
        return bad("PIPELINE: level %u: yolo has one tensor only", i);
      if (cls->dims[1] < 5) return bad("PIPELINE: level %u: its tensor is not [1,4+classes,N]", i);
      return cls->dims[1] - 4;
    case vision::Decoder::kBoxesScores:
      if (!has_dims(box, cls->dims[1], 4))
        return bad("PIPELINE: level %u: its box tensor is not [1,N,4]", i);
      if (level.obj != kNone) return bad("PIPELINE: level %u: boxes_scores has no objectness", i);
      return cls->dims[2];
  }
  return bad("PIPELINE: decode %u is unknown", uint32_t(decoder));
}

Status resolve_output(const Plan& plan, const PipelineRecord& record, Pipeline* pipeline) {
  if (!between(record.decode, 1, 3))
    return bad("PIPELINE: decode %u is unknown or not for detection", record.decode);
  if (!std::isfinite(record.score_threshold)) return bad("PIPELINE: score threshold is not finite");
  if (!(record.nms_iou >= 0 && record.nms_iou <= 1))
    return bad("PIPELINE: NMS IoU is not between 0 and 1");
  if (!between(record.max_detections, 1, kMaxDetections)) {
    return bad("PIPELINE: %u detections at most; 1 to %u are allowed", record.max_detections,
               kMaxDetections);
  }
  if (record.level_count == 0 ||
      !fits(record.first_level, record.level_count, plan.levels().count)) {
    return bad("PIPELINE: levels %u and %u more lie outside LEVELS", record.first_level,
               record.level_count);
  }
  const auto decoder = static_cast<vision::Decoder>(record.decode);
  if (decoder != vision::Decoder::kGridLtrbExp && record.level_count != 1) {
    return bad("PIPELINE: %u levels; this decode has one", record.level_count);
  }
  pipeline->records = {plan.levels().data + record.first_level, record.level_count};
  pipeline->level_count = record.level_count;
  int64_t classes = 0;
  for (uint32_t i = 0; i < record.level_count; ++i) {
    Result<int64_t> here = classes_of(plan, pipeline->records[i], decoder, i);
    if (!here.ok()) return here.status();
    if (i > 0 && here.value() != classes)
      return bad("PIPELINE: level %u has another number of classes than level 0", i);
    classes = here.value();
  }
  if (record.label_count != 0 && record.label_count != classes) {
    return bad("PIPELINE: %u labels for %ld classes", record.label_count, classes);
  }
  pipeline->decode.decoder = decoder;
  pipeline->decode.score = static_cast<vision::Score>(record.score);
  pipeline->decode.classes = int32_t(classes);
  pipeline->decode.nms_iou = record.nms_iou;
  pipeline->decode.max_detections = int32_t(record.max_detections);
  pipeline->score_threshold = record.score_threshold;
  return {};
}

}  // namespace

Result<Pipeline> resolve_pipeline(const Plan& plan) {
  const PipelineRecord& record = *plan.pipeline();
  Pipeline pipeline;
  if (!between(record.task, 1, 2)) return bad("PIPELINE: task %u is unknown", record.task);
  if (!between(record.score, 0, 2)) return bad("PIPELINE: score %u is unknown", record.score);
  for (const uint32_t zero : record.zero) {
    if (zero != 0) return bad("PIPELINE: a reserved field is not zero");
  }
  if (!fits(record.first_label, record.label_count, plan.labels().count)) {
    return bad("PIPELINE: labels %u and %u more lie outside LABELS", record.first_label,
               record.label_count);
  }
  SD_TRY(resolve_input(plan, record, &pipeline.input));
  pipeline.first_label = record.first_label;
  pipeline.task = static_cast<Task>(record.task);
  if (pipeline.task == Task::kDetect) {
    SD_TRY(resolve_output(plan, record, &pipeline));
  } else if (record.decode != 0 || record.level_count != 0) {
    return bad("PIPELINE: classification has no boxes to decode");
  }
  return pipeline;
}

PipelineLevel resolve_level(const Plan& plan, const Pipeline& pipeline, uint32_t i) {
  const LevelRecord& record = pipeline.records[i];
  const TensorRecord& cls = plan.tensors()[record.cls];
  const auto output = [&](uint32_t tensor) {
    return tensor == kNone ? kNone : tensor - plan.inputs();
  };
  PipelineLevel level{int32_t(record.stride), 1, 0, output(record.cls), output(record.box),
                      output(record.obj)};
  switch (pipeline.decode.decoder) {
    case vision::Decoder::kGridLtrbExp:
      level.height = int32_t(cls.dims[2]);
      level.width = int32_t(cls.dims[3]);
      break;
    case vision::Decoder::kYolo:
      level.width = int32_t(cls.dims[2]);
      break;
    case vision::Decoder::kBoxesScores:
      level.width = int32_t(cls.dims[1]);
      break;
  }
  return level;
}

}  // namespace sanderling
