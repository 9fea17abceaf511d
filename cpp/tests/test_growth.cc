// Loaded, run and unloaded a thousand times: no memory, file, mapping or thread is left behind, and
// none by what was refused on the way.
#include <dirent.h>
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "loading.h"

using namespace builder;

namespace {

constexpr int kRounds = 1000;

// What the process holds.
struct Holdings {
  long files, mappings, threads, memory;  // memory in pages
};

long entries_of(const char* folder) {
  long count = 0;
  DIR* const open = opendir(folder);
  REQUIRE(open != nullptr);
  while (readdir(open) != nullptr) ++count;
  closedir(open);
  return count;
}

Holdings holdings() {
  std::ifstream maps("/proc/self/maps"), statm("/proc/self/statm");
  long pages = 0, resident = 0;
  statm >> pages >> resident;
  const long lines =
      std::count(std::istreambuf_iterator<char>(maps), std::istreambuf_iterator<char>(), '\n');
  return {entries_of("/proc/self/fd"), lines, entries_of("/proc/self/task"), resident};
}

// The first rounds fill the allocator's own stores.
template <typename Round>
void check_growth(Round round) {
  for (int i = 0; i < kRounds / 5; ++i) round();
  const Holdings before = holdings();
  for (int i = 0; i < kRounds; ++i) round();
  const Holdings after = holdings();
  CHECK(after.files == before.files);
  CHECK(after.threads == before.threads);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // these keep what was freed
  CHECK(after.mappings <= before.mappings + 4);  // the allocator splits and joins some
  CHECK((after.memory - before.memory) * sysconf(_SC_PAGESIZE) < kRounds * 256L);
#endif
}

}  // namespace

TEST_CASE("a model that is loaded, run and unloaded a thousand times leaves nothing behind") {
  const Blob bytes = package(small_plan()).bytes();
  std::vector<float> x(32, 1), y(32);
  const void* inputs[] = {x.data()};
  void* outputs[] = {y.data()};
  check_growth([&] {
    sd_error error;
    Package opened;
    REQUIRE(open_bytes(bytes, &opened, &error) == SD_OK);
    sd_model* model = nullptr;
    REQUIRE(sd_model_load(opened.get(), nullptr, SD_VERIFY_FULL, &model, &error) == SD_OK);
    const Model owned(model);
    sd_pool* pool = nullptr;
    REQUIRE(sd_pool_shared(2, &pool, &error) == SD_OK);
    const Pool shared(pool);
    const Session session = session_of(owned, pool);
    REQUIRE(sd_session_run(session.get(), inputs, outputs, &error) == SD_OK);
    REQUIRE(y[0] == 7);
  });
}

TEST_CASE("packages and variants that are refused a thousand times leave nothing behind") {
  Archive wrong_params = package(small_plan());
  wrong_params.entries[3].data[0] ^= 1;
  Archive wrong_code = package(small_plan());
  wrong_code.entries[2].data[100] ^= 1;
  PlanParts no_kernel = small_plan();
  no_kernel.kernels[0] = no_kernel.text("missing");
  Blob cut = package(small_plan()).bytes();
  cut.resize(cut.size() - 1);
  const std::vector<Blob> refused = {wrong_params.bytes(), wrong_code.bytes(),
                                     package(no_kernel).bytes(), cut};
  size_t next = 0;
  check_growth([&] {
    sd_error error;
    Package opened;
    if (open_bytes(refused[next++ % refused.size()], &opened, &error) != SD_OK) return;
    sd_model* model = nullptr;
    REQUIRE(sd_model_load(opened.get(), nullptr, SD_VERIFY_FULL, &model, &error) != SD_OK);
    REQUIRE(model == nullptr);
  });
}
