// The PIPELINE record in terms of the vision functions.
#ifndef SANDERLING_CORE_PIPELINE_H_
#define SANDERLING_CORE_PIPELINE_H_

#include "core/plan.h"
#include "vision/decode.h"
#include "vision/preprocess.h"

namespace sanderling {

struct PipelineLevel {
  int32_t stride, height, width;
  uint32_t cls, box, obj;  // indices into the outputs, or kNone
};

struct Pipeline {
  Task task = Task::kClassify;
  vision::InputSpec input = {};
  vision::DecodeSpec decode = {};  // only with Task::kDetect, like what follows
  float score_threshold = 0;
  Records<LevelRecord> records;
  uint32_t level_count = 0;
  uint32_t first_label = 0;  // of the model's labels: that of class 0
};

// Checks the whole record. The plan must have one.
Result<Pipeline> resolve_pipeline(const Plan& plan);

// Level `i` of a resolved pipeline.
PipelineLevel resolve_level(const Plan& plan, const Pipeline& pipeline, uint32_t i);

}  // namespace sanderling

#endif  // SANDERLING_CORE_PIPELINE_H_
