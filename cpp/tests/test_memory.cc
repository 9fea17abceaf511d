// Every allocation fails once, on the way from a file to a result: an error each time, and nothing
// is lost.
#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "loading.h"

using namespace builder;

namespace {

// Which allocation from now on fails; below zero: none.
int countdown = -1;

bool fails() { return countdown >= 0 && countdown-- == 0; }

// All that a program does with a package. Everything is released whatever happens.
sd_status use(int fd, sd_error* error) {
  static float x[768], y[2][64];
  const void* inputs[] = {x};
  void* outputs[] = {y[0], y[1]};
  sd_package* package = nullptr;
  sd_pool* pool = nullptr;
  sd_model* model = nullptr;
  sd_session* session = nullptr;
  sd_status status = sd_package_open_fd(fd, &package, error);
  if (status == SD_OK) status = sd_package_verify(package, error);
  if (status == SD_OK) status = sd_pool_create(2, &pool, error);
  if (status == SD_OK) status = sd_model_load(package, nullptr, SD_VERIFY_FULL, &model, error);
  if (status == SD_OK) status = sd_session_create(model, pool, &session, error);
  if (status == SD_OK) status = sd_session_run(session, inputs, outputs, error);
  sd_session_destroy(session);
  sd_model_release(model);
  sd_pool_release(pool);
  sd_package_close(package);
  return status;
}

}  // namespace

extern "C" {

void* __real_malloc(size_t size);
void* __real_calloc(size_t count, size_t size);
void* __real_mmap(void* address, size_t length, int protection, int flags, int fd, off_t offset);

void* __wrap_malloc(size_t size) { return fails() ? nullptr : __real_malloc(size); }
void* __wrap_calloc(size_t count, size_t size) {
  return fails() ? nullptr : __real_calloc(count, size);
}
void* __wrap_mmap(void* address, size_t length, int protection, int flags, int fd, off_t offset) {
  return fails() ? MAP_FAILED : __real_mmap(address, length, protection, flags, fd, offset);
}

}  // extern "C"

TEST_CASE("an allocation that fails is an error, whichever it is") {
  for (const PlanParts& plan : {small_plan(), detector_plan()}) {
    const int fd = nameless_file(package(plan).bytes());
    sd_status status = SD_INTERNAL;
    int errors = 0;
    for (int n = 0;; ++n) {
      REQUIRE(n < 1000);
      sd_error error{};
      countdown = n;
      status = use(fd, &error);
      const bool reached = countdown < 0;
      countdown = -1;
      if (!reached) break;
      CAPTURE(n);
      INFO(std::string(error.message));
      // A copy of the kernels that cannot be mapped in memory is worked around with a file on disk.
      if (status != SD_OK) CHECK((status == SD_OUT_OF_MEMORY || status == SD_IO_ERROR));
      errors += status != SD_OK;
    }
    CHECK(status == SD_OK);
    CHECK(errors > 20);
    close(fd);
  }
}
