// Mutations that reach the deep checks: nearly every changed byte would end at the first CRC or
// digest, and nearly every inserted one at the first offset.
#ifndef SANDERLING_FUZZ_MUTATE_H_
#define SANDERLING_FUZZ_MUTATE_H_

#include "builder.h"

// A mutation of `data`, as libFuzzer makes them or, as often, of one aligned number: a little more
// or less, another number of the file, or an extreme. Returns the new size.
size_t mutate(uint8_t* data, size_t size, size_t most, unsigned seed);

// Makes size and digest in the header of plan.bin fit its bytes.
void repair_plan(builder::Blob* plan);

// Makes the CRCs of all entries, the plans among them, and what those plans say of kernels and
// parameters fit the bytes, as far as directory and entries can be made out.
void repair_package(builder::Blob* package);

#endif  // SANDERLING_FUZZ_MUTATE_H_
