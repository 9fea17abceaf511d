#include "statistics.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <numeric>

namespace tools {
namespace {

uint64_t clock_ns(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return uint64_t(time.tv_sec) * 1000000000 + uint64_t(time.tv_nsec);
}

}  // namespace

Statistics statistics(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto percentile = [&](double p) {
    const double rank = p * double(values.size() - 1);
    const size_t below = size_t(rank);
    const size_t above = std::min(below + 1, values.size() - 1);
    return values[below] + (rank - double(below)) * (values[above] - values[below]);
  };
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  return {values.front(), percentile(0.5), percentile(0.9), percentile(0.99),
          sum / double(values.size())};
}

uint64_t now_ns() { return clock_ns(CLOCK_MONOTONIC); }

uint64_t process_cpu_ns() { return clock_ns(CLOCK_PROCESS_CPUTIME_ID); }

// VmHWM, because ru_maxrss also counts what the parent had when it forked.
uint64_t peak_memory_bytes() {
  uint64_t kilobytes = 0;
  if (FILE* file = std::fopen("/proc/self/status", "r")) {
    char line[256];
    while (std::fgets(line, sizeof(line), file) != nullptr &&
           std::sscanf(line, "VmHWM: %lu", &kilobytes) != 1) {
    }
    std::fclose(file);
  }
  if (kilobytes == 0) {
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    kilobytes = uint64_t(usage.ru_maxrss);
  }
  return kilobytes * 1024;
}

}  // namespace tools
