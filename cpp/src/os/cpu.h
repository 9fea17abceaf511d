// What this CPU is and can do, in the words of /proc/cpuinfo: the kernel's answer, so what it masks
// counts as missing.
#ifndef SANDERLING_OS_CPU_H_
#define SANDERLING_OS_CPU_H_

#include "core/plan.h"
#include "core/status.h"

namespace sanderling {

struct Cpu {
  char features[4096];  // space-separated; empty if the kernel does not say
  char model[128];
};

const Cpu& this_cpu();  // read once

bool has_feature(const char* features, const char* feature);

// SD_UNSUPPORTED_TARGET unless this CPU has the architecture and every feature that the plan was
// compiled for. Names both.
Status check_target(const Plan& plan, const Cpu& cpu);

}  // namespace sanderling

#endif  // SANDERLING_OS_CPU_H_
