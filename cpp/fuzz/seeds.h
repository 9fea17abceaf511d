// Gives a fuzzer something good to start from.
#ifndef SANDERLING_FUZZ_SEEDS_H_
#define SANDERLING_FUZZ_SEEDS_H_

#include <cstdint>
#include <string>
#include <vector>

// Writes the seeds into the first corpus folder of libFuzzer's command line, if it names one.
void write_seeds(int argc, char** argv, const std::vector<std::vector<uint8_t>>& seeds);

#endif  // SANDERLING_FUZZ_SEEDS_H_
