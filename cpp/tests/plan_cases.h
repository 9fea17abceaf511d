// What the tables of broken plans have in common.
#ifndef SANDERLING_TESTS_PLAN_CASES_H_
#define SANDERLING_TESTS_PLAN_CASES_H_

#include <doctest/doctest.h>

#include "builder.h"
#include "core/plan.h"

namespace builder {

struct PlanCase {
  const char* name;
  void (*change)(PlanParts* plan);
  const char* message;
};

inline void expect(const Blob& plan, sd_status code, const char* message) {
  sanderling::Result<sanderling::Plan> read = sanderling::Plan::read(view(plan));
  REQUIRE_FALSE(read.ok());
  INFO(std::string(read.status().message()));
  CHECK(read.status().code() == code);
  CHECK(std::string(read.status().message()).find(message) != std::string::npos);
}

inline void expect_good(const PlanParts& plan) {
  const Blob bytes = plan.bytes();
  const sanderling::Result<sanderling::Plan> read = sanderling::Plan::read(view(bytes));
  CHECK_MESSAGE(read.ok(), std::string(read.status().message()));
}

}  // namespace builder

#endif  // SANDERLING_TESTS_PLAN_CASES_H_
