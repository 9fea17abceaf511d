// Figures of measured times, and where they come from.
#ifndef SANDERLING_TOOLS_STATISTICS_H_
#define SANDERLING_TOOLS_STATISTICS_H_

#include <cstdint>
#include <vector>

namespace tools {

struct Statistics {
  double min = 0, p50 = 0, p90 = 0, p99 = 0, mean = 0;
};

// Percentiles by linear interpolation between the two nearest ranks, as numpy does.
Statistics statistics(std::vector<double> values);

uint64_t now_ns();             // monotonic clock
uint64_t process_cpu_ns();     // CPU time that this process has used
uint64_t peak_memory_bytes();  // largest resident set of this process since it was executed

}  // namespace tools

#endif  // SANDERLING_TOOLS_STATISTICS_H_
