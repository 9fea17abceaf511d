#include <cstdio>

#include "api/handles.h"
#include "os/cpu.h"

#ifndef SANDERLING_VERSION
#error "the build defines SANDERLING_VERSION"
#endif

namespace sanderling {

sd_status report(const Status& status, sd_error* error) {
  if (error != nullptr) {
    error->status = status.code();
    std::snprintf(error->message, sizeof(error->message), "%s", status.message());
  }
  return status.code();
}

}  // namespace sanderling

using sanderling::Pool;
using sanderling::Ref;
using sanderling::Result;

extern "C" {

const char* sd_version(void) { return SANDERLING_VERSION; }

const char* sd_status_name(sd_status status) {
  switch (status) {
    case SD_OK:
      return "ok";
    case SD_INVALID_ARGUMENT:
      return "invalid argument";
    case SD_NOT_FOUND:
      return "not found";
    case SD_BAD_PACKAGE:
      return "bad package";
    case SD_DIGEST_MISMATCH:
      return "digest mismatch";
    case SD_UNSUPPORTED_TARGET:
      return "unsupported target";
    case SD_UNSUPPORTED_VERSION:
      return "unsupported version";
    case SD_OUT_OF_MEMORY:
      return "out of memory";
    case SD_IO_ERROR:
      return "I/O error";
    case SD_BAD_TENSOR:
      return "bad tensor";
    case SD_CANCELLED:
      return "cancelled";
    case SD_INTERNAL:
      return "internal error";
  }
  return "unknown status";
}

const char* sd_cpu_features(void) { return sanderling::this_cpu().features; }

sd_status sd_pool_create(int32_t threads, sd_pool** out, sd_error* error) {
  if (out == nullptr) return report(sanderling::null_argument("out"), error);
  Result<Ref<Pool>> pool = Pool::create(threads);
  *out = pool.ok() ? reinterpret_cast<sd_pool*>(pool.value().release()) : nullptr;
  return report(pool.status(), error);
}

sd_status sd_pool_shared(int32_t threads, sd_pool** out, sd_error* error) {
  if (out == nullptr) return report(sanderling::null_argument("out"), error);
  Result<Ref<Pool>> pool = Pool::shared(threads);
  *out = pool.ok() ? reinterpret_cast<sd_pool*>(pool.value().release()) : nullptr;
  return report(pool.status(), error);
}

void sd_pool_release(sd_pool* pool) { Ref<Pool>::adopt(reinterpret_cast<Pool*>(pool)); }

int32_t sd_pool_threads(const sd_pool* pool) {
  return pool == nullptr ? 1 : int32_t(reinterpret_cast<const Pool*>(pool)->threads());
}

}  // extern "C"
