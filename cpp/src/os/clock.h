#ifndef SANDERLING_OS_CLOCK_H_
#define SANDERLING_OS_CLOCK_H_

#include <cstdint>
#include <ctime>

namespace sanderling {

// Nanoseconds of the monotonic clock.
inline uint64_t monotonic_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return uint64_t(now.tv_sec) * 1000000000 + uint64_t(now.tv_nsec);
}

}  // namespace sanderling

#endif  // SANDERLING_OS_CLOCK_H_
