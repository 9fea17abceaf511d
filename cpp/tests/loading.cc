#include "loading.h"

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

namespace builder {

int nameless_file(const Blob& bytes) {
  const int fd = memfd_create("test", MFD_CLOEXEC);
  REQUIRE(fd >= 0);
  REQUIRE(write(fd, bytes.data(), bytes.size()) == ssize_t(bytes.size()));
  return fd;
}

sd_status open_bytes(const Blob& bytes, Package* package, sd_error* error) {
  const int fd = nameless_file(bytes);
  sd_package* opened = nullptr;
  const sd_status status = sd_package_open_fd(fd, &opened, error);
  close(fd);
  package->reset(opened);
  CHECK((status == SD_OK) == (opened != nullptr));
  return status;
}

Package open_good(const Archive& archive) {
  Package opened;
  sd_error error;
  const sd_status status = open_bytes(archive.bytes(), &opened, &error);
  INFO(std::string(error.message));
  REQUIRE(status == SD_OK);
  return opened;
}

Model load_good(const PlanParts& plan, const Blob& params_bin) {
  const Package opened = open_good(package(plan, params_bin));
  sd_error error;
  sd_model* model = nullptr;
  const sd_status status = sd_model_load(opened.get(), nullptr, SD_VERIFY_FULL, &model, &error);
  INFO(std::string(error.message));
  REQUIRE(status == SD_OK);
  return Model(model);
}

Session session_of(const Model& model, sd_pool* pool) {
  sd_error error;
  sd_session* session = nullptr;
  const sd_status status = sd_session_create(model.get(), pool, &session, &error);
  INFO(std::string(error.message));
  REQUIRE(status == SD_OK);
  return Session(session);
}

Pool pool_of(int threads) {
  sd_error error;
  sd_pool* pool = nullptr;
  const sd_status status = sd_pool_create(threads, &pool, &error);
  INFO(std::string(error.message));
  REQUIRE(status == SD_OK);
  return Pool(pool);
}

}  // namespace builder
