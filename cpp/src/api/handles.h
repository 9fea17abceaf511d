// What the opaque handles of the C API stand for.
#ifndef SANDERLING_API_HANDLES_H_
#define SANDERLING_API_HANDLES_H_

#include "core/executor.h"
#include "core/pipeline.h"
#include "core/plan.h"
#include "core/zip.h"
#include "os/code.h"
#include "os/file.h"
#include "os/pages.h"
#include "os/pool.h"

struct sd_package {
  sanderling::Ref<sanderling::MappedFile> file;
  sanderling::Zip zip;
};

// Immutable once loaded.
struct sd_model : sanderling::Shared {
  sanderling::Ref<sanderling::MappedFile> file;  // params lie in it
  sanderling::Plan plan;
  sanderling::LoadedCode code;
  sanderling::Array<void*> kernels;
  sanderling::Bytes params;
};

// Used by one thread at a time, which holds `busy`; anybody may set `cancelled`.
struct sd_session {
  std::atomic<bool> busy{false};
  std::atomic<bool> cancelled{false};
  sanderling::Ref<sd_model> model;
  sanderling::Ref<sanderling::Pool> pool;  // null: the caller alone
  sanderling::Pages arena, scratch;
  sanderling::Executor executor;
  bool has_run = false;  // the arena holds the counts of a run that ended well

  // For models with a pipeline: detect() runs from and to these.
  sanderling::Pipeline pipeline;
  sanderling::Pages frame_memory;
  float* input = nullptr;
  void* preprocess_scratch = nullptr;
  void* decode_scratch = nullptr;
  sanderling::Array<void*> outputs;
  sanderling::Array<sanderling::vision::Level> levels;
};

namespace sanderling {

// Copies a status to where the caller of the C API wants it.
sd_status report(const Status& status, sd_error* error);

inline Status null_argument(const char* name) {
  return Status::error(SD_INVALID_ARGUMENT, "%s is NULL", name);
}

inline Bytes contents(const sd_package& package, const ZipEntry& entry) {
  return {package.file->bytes().data + entry.offset, entry.size};
}

// A variant as it lies in a package: its plan, checked, and where its code and parameters are.
struct Variant {
  Plan plan;
  Bytes kernels, params;
};

Result<Variant> read_variant(const sd_package& package, const ZipEntry& plan_entry);

// If the entry is variants/<name>/plan.bin: the name and its length. Otherwise null.
const char* variant_name(const ZipEntry& entry, int* length);

}  // namespace sanderling

#endif  // SANDERLING_API_HANDLES_H_
