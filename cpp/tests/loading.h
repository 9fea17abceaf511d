// Packages made by builder.h, opened and loaded through the C API.
#ifndef SANDERLING_TESTS_LOADING_H_
#define SANDERLING_TESTS_LOADING_H_

#include <memory>

#include "builder.h"

namespace builder {

struct PackageCloser {
  void operator()(sd_package* package) const { sd_package_close(package); }
};
struct ModelReleaser {
  void operator()(sd_model* model) const { sd_model_release(model); }
};
struct SessionDestroyer {
  void operator()(sd_session* session) const { sd_session_destroy(session); }
};
struct PoolReleaser {
  void operator()(sd_pool* pool) const { sd_pool_release(pool); }
};
using Package = std::unique_ptr<sd_package, PackageCloser>;
using Model = std::unique_ptr<sd_model, ModelReleaser>;
using Session = std::unique_ptr<sd_session, SessionDestroyer>;
using Pool = std::unique_ptr<sd_pool, PoolReleaser>;

int nameless_file(const Blob& bytes);  // a file descriptor
sd_status open_bytes(const Blob& bytes, Package* package, sd_error* error);
Package open_good(const Archive& archive);
Model load_good(const PlanParts& plan, const Blob& params_bin = small_params());
Session session_of(const Model& model, sd_pool* pool = nullptr);
Pool pool_of(int threads);

}  // namespace builder

#endif  // SANDERLING_TESTS_LOADING_H_
