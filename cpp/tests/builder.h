// Makes packages in memory, good ones and broken ones.
#ifndef SANDERLING_TESTS_BUILDER_H_
#define SANDERLING_TESTS_BUILDER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/plan.h"
#include "sanderling/sanderling.h"

namespace builder {

using Blob = std::vector<uint8_t>;

// Exactly the bytes on the heap, so that AddressSanitizer sees any read beyond them.
sanderling::Bytes view(const Blob& bytes);

// --- plan.bin
// --------------------------------------------------------------------------------------------------------

struct Section {
  uint32_t kind, record_size;
  Blob bytes;
};

// Records as vectors; bytes() lays them out and makes the digest.
struct PlanParts {
  std::string strings;
  uint64_t arena_bytes = 0, scratch_bytes = 0;
  sanderling::TargetRecord target{};
  std::vector<sanderling::StringRef> features;
  std::vector<sanderling::BlobRecord> blobs;
  std::vector<sanderling::TensorRecord> tensors;
  std::vector<sanderling::StringRef> kernels;
  std::vector<sanderling::BufferRecord> buffers;
  std::vector<sanderling::CallRecord> calls;
  std::vector<sanderling::ArgRecord> args;
  std::vector<sanderling::PipelineRecord> pipelines;
  std::vector<sanderling::LevelRecord> levels;
  std::vector<sanderling::StringRef> labels;

  sanderling::StringRef text(const std::string& text);  // adds it to `strings`
  void tensor(const std::string& name, sanderling::Role role, std::vector<int64_t> dims,
              uint32_t dtype = SD_FLOAT32);
  void call(uint32_t kernel, uint32_t tasks, std::vector<sanderling::ArgRecord> args,
            uint32_t grain = 1);
  void blob(uint32_t kind, const Blob& contents);

  std::vector<Section> sections() const;
  Blob bytes() const;
};

// Lays sections out behind a header. For broken tables, change the result and call seal().
Blob assemble(const std::vector<Section>& sections, uint64_t arena_bytes, uint64_t scratch_bytes);
void seal(Blob* plan);  // writes the digest that fits the bytes

// Changes one value in the bytes.
template <typename T>
void put(Blob* bytes, uint64_t offset, T value) {
  std::memcpy(bytes->data() + offset, &value, sizeof(T));
}

sanderling::ArgRecord arena(uint32_t buffer, uint32_t access, uint64_t size, uint64_t offset = 0);
sanderling::ArgRecord params(uint64_t size, uint64_t offset = 0);
sanderling::ArgRecord caller(sanderling::Place place, uint32_t tensor, uint64_t size,
                             uint64_t offset = 0);
sanderling::ArgRecord scratch(uint64_t size, uint64_t offset = 0);

// --- ZIP
// -------------------------------------------------------------------------------------------------------------

struct Entry {
  std::string name;
  Blob data;
  // Departures from the profile.
  uint16_t flags = 0, method = 0, comment = 0, disk = 0;
  uint32_t attributes = 0;
  uint32_t alignment = 0;                      // 0: what the profile wants for this name
  std::function<void(Blob*)> edit_local = {};  // local header, from its first byte
  std::function<void(Blob*)> edit_central = {};
};

struct Archive {
  std::vector<Entry> entries;
  std::function<void(Blob*)> edit_end;
  std::string tail;  // behind the end record
  Blob bytes() const;
};

// --- models
// ----------------------------------------------------------------------------------------------------------

const Blob& kernels();  // the shared object made from kernels.c
Blob floats(const std::vector<float>& values);

// x [1,4,8] → y [1,4,8]: scaled (·2 + 1) twice and reversed within each eight. Every kind of place
// occurs.
PlanParts small_plan();
Blob small_params();
// An image [1,3,16,16] copied to cls [1,2,4,4], box [1,4,4,4]; pipeline and labels.
PlanParts detector_plan();

// x [1,4,8] copied to y [1,≤4,8], of which x[0,0,0] says how many eights are real.
PlanParts bounded_plan();

// manifest, plan, kernels, params of one variant, with the digests in the plan made to fit.
Archive package(PlanParts plan, const Blob& params_bin = small_params(),
                const std::string& variant = "test");

}  // namespace builder

#endif  // SANDERLING_TESTS_BUILDER_H_
