// What sanderling-run prints.
#ifndef SANDERLING_TOOLS_REPORT_H_
#define SANDERLING_TOOLS_REPORT_H_

#include <vector>

#include "handles.h"
#include "options.h"
#include "statistics.h"

namespace tools {

struct CallReport {
  sd_call_info info;
  Statistics milliseconds;
};

struct Report {
  Loaded loaded;
  double before_main_ms = 0;  // CPU time until main() began
  double load_ms = 0;         // main() → ready to run
  double first_ms = 0;        // main() → first result
  uint64_t first_memory = 0;  // peak bytes by then
  uint64_t memory = 0;        // peak bytes in all
  std::vector<double> runs_ms;
  std::vector<CallReport> calls;  // with --profile
  std::vector<sd_detection> detections;
};

void print_report(const Options& options, const Report& report);
void print_info(const Options& options);  // opens the package; loads no code

}  // namespace tools

#endif  // SANDERLING_TOOLS_REPORT_H_
