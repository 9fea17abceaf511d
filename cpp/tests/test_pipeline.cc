// Rules of the PIPELINE record, a row for each way to break one.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "plan_cases.h"

using namespace builder;
using namespace sanderling;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

const PlanCase kCases[] = {
    {"task 0", [](PlanParts* p) { p->pipelines[0].task = 0; }, "task 0"},
    {"task 3", [](PlanParts* p) { p->pipelines[0].task = 3; }, "task 3"},
    {"input is an output", [](PlanParts* p) { p->pipelines[0].input = 1; }, "only input"},
    {"two inputs",
     [](PlanParts* p) {
       p->tensors.insert(p->tensors.begin(), p->tensors[0]);
       p->tensors[0].name = p->text("other");
       for (ArgRecord& arg : p->args) arg.index += arg.place == uint32_t(Place::kOutput);
     },
     "only input"},
    {"color 4", [](PlanParts* p) { p->pipelines[0].color = 4; }, "color 4"},
    {"resize 0", [](PlanParts* p) { p->pipelines[0].resize = 0; }, "resize 0"},
    {"gray from three channels", [](PlanParts* p) { p->pipelines[0].color = 3; },
     "[1,1,height,width]"},
    {"input of integers", [](PlanParts* p) { p->tensors[0].dtype = SD_INT32; }, "is not float32"},
    {"input of rank 3",
     [](PlanParts* p) {
       p->tensors[0].rank = 3, p->tensors[0].dims[3] = 0, p->tensors[0].dims[2] = 256;
     },
     "is not float32 [1,3,height,width]"},
    {"batch of two", [](PlanParts* p) { p->tensors[0].dims[0] = 2, p->tensors[0].bytes *= 2; },
     "is not float32 [1,3,height,width]"},
    {"mean NaN", [](PlanParts* p) { p->pipelines[0].mean[1] = kNan; }, "mean"},
    {"std 0", [](PlanParts* p) { p->pipelines[0].std[2] = 0; }, "std"},
    {"std negative", [](PlanParts* p) { p->pipelines[0].std[2] = -1; }, "std"},
    {"std infinite", [](PlanParts* p) { p->pipelines[0].std[0] = INFINITY; }, "std"},
    {"pad value NaN", [](PlanParts* p) { p->pipelines[0].pad_value = kNan; }, "pad value"},
    {"decode 4", [](PlanParts* p) { p->pipelines[0].decode = 4; }, "decode 4"},
    {"detection without decode", [](PlanParts* p) { p->pipelines[0].decode = 0; }, "decode 0"},
    {"classification with decode", [](PlanParts* p) { p->pipelines[0].task = 2; }, "no boxes"},
    {"score 3", [](PlanParts* p) { p->pipelines[0].score = 3; }, "score 3"},
    {"threshold NaN", [](PlanParts* p) { p->pipelines[0].score_threshold = kNan; },
     "score threshold"},
    {"IoU NaN", [](PlanParts* p) { p->pipelines[0].nms_iou = kNan; }, "IoU"},
    {"IoU above 1", [](PlanParts* p) { p->pipelines[0].nms_iou = 1.5F; }, "IoU"},
    {"no detection allowed", [](PlanParts* p) { p->pipelines[0].max_detections = 0; },
     "0 detections"},
    {"2^32-1 detections", [](PlanParts* p) { p->pipelines[0].max_detections = UINT32_MAX; },
     "detections"},
    {"no level", [](PlanParts* p) { p->pipelines[0].level_count = 0; }, "outside LEVELS"},
    {"level sum overflows", [](PlanParts* p) { p->pipelines[0].first_level = UINT32_MAX; },
     "outside LEVELS"},
    {"label sum overflows", [](PlanParts* p) { p->pipelines[0].first_label = UINT32_MAX; },
     "outside LABELS"},
    {"more labels than classes",
     [](PlanParts* p) { p->labels.push_back(p->text("gull")), p->pipelines[0].label_count = 3; },
     "3 labels for 2 classes"},
    {"a bounded output is decoded",
     [](PlanParts* p) {
       p->buffers.push_back({0, 8, 1, 1});
       p->args.push_back(arena(0, kWrite, 8));
       ++p->calls[1].arg_count;
       p->tensors[1].bounded = 3;
     },
     "is no float32 output"},
    {"pipeline reserved", [](PlanParts* p) { p->pipelines[0].zero[3] = 1; }, "reserved"},
    {"stride 0", [](PlanParts* p) { p->levels[0].stride = 0; }, "stride 0"},
    {"class tensor is the input", [](PlanParts* p) { p->levels[0].cls = 0; }, "class tensor 0"},
    {"class tensor out of range", [](PlanParts* p) { p->levels[0].cls = 3; }, "class tensor 3"},
    {"no class tensor", [](PlanParts* p) { p->levels[0].cls = kNone; }, "class tensor 4294967295"},
    {"box tensor has no 4 channels", [](PlanParts* p) { p->levels[0].box = 1; }, "box tensor"},
    {"no box tensor", [](PlanParts* p) { p->levels[0].box = kNone; }, "box tensor"},
    {"objectness tensor of another shape", [](PlanParts* p) { p->levels[0].obj = 1; },
     "objectness tensor"},
    {"yolo with a box tensor", [](PlanParts* p) { p->pipelines[0].decode = 2; }, "rank 3"},
    {"levels with different classes",
     [](PlanParts* p) { p->levels.push_back({4, 2, 2, kNone}), p->pipelines[0].level_count = 2; },
     "another number of classes"},
};

}  // namespace

TEST_CASE("a good plan with a pipeline is read") { expect_good(detector_plan()); }

TEST_CASE("a broken pipeline is refused with its cause") {
  for (const PlanCase& row : kCases) {
    CAPTURE(std::string(row.name));
    PlanParts plan = detector_plan();
    row.change(&plan);
    expect(plan.bytes(), SD_BAD_PACKAGE, row.message);
  }
}

TEST_CASE("the pipeline's tensors may be channels-last, yolo's, or boxes and scores") {
  SUBCASE("NHWC") {
    PlanParts plan = detector_plan();
    plan.tensors[0].dims[1] = 16, plan.tensors[0].dims[3] = 3;
    expect_good(plan);
  }
  SUBCASE("yolo") {
    PlanParts plan = detector_plan();
    plan.tensors[1].rank = plan.tensors[2].rank = 3;
    plan.tensors[1].dims[3] = plan.tensors[2].dims[3] = 0;
    plan.tensors[2].dims[1] = 6, plan.tensors[2].dims[2] = 8, plan.tensors[2].bytes = 192;
    plan.tensors[1].dims[2] = 16;
    plan.args[3].size = 192;
    plan.pipelines[0].decode = 2;
    plan.levels[0] = {1, 2, kNone, kNone};
    expect_good(plan);
    plan.levels[0].box = 1;
    expect(plan.bytes(), SD_BAD_PACKAGE, "one tensor only");
    plan.levels = {{1, 2, kNone, kNone}, {1, 2, kNone, kNone}};
    plan.pipelines[0].level_count = 2;
    expect(plan.bytes(), SD_BAD_PACKAGE, "this decode has one");
  }
  SUBCASE("boxes and scores") {
    PlanParts plan = detector_plan();
    plan.tensors[1].rank = plan.tensors[2].rank = 3;
    plan.tensors[1].dims[1] = plan.tensors[2].dims[1] = 16;
    plan.tensors[1].dims[2] = 2, plan.tensors[2].dims[2] = 4;
    plan.tensors[1].dims[3] = plan.tensors[2].dims[3] = 0;
    plan.pipelines[0].decode = 3;
    expect_good(plan);
    plan.levels[0].box = 1;
    expect(plan.bytes(), SD_BAD_PACKAGE, "box tensor is not [1,N,4]");
  }
  SUBCASE("classification") {
    PlanParts plan = detector_plan();
    plan.pipelines[0].task = 2;
    plan.pipelines[0].decode = plan.pipelines[0].level_count = 0;
    expect_good(plan);
  }
}
