// Whole packages: what is opened, verified and loaded, and what damage does to them.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include "core/zip.h"
#include "loading.h"
#include "os/cpu.h"

using namespace builder;
using sanderling::Result;
using sanderling::Zip;

namespace {

struct Outcome {
  sd_status status = SD_OK;
  std::string message;
};

// Opens, verifies and loads without running anything; the first error counts.
Outcome load(const Blob& bytes, const char* variant = nullptr, bool verify = true) {
  Package package;
  sd_error error{};
  sd_status status = open_bytes(bytes, &package, &error);
  if (status == SD_OK && verify) status = sd_package_verify(package.get(), &error);
  sd_model* model = nullptr;
  if (status == SD_OK)
    status = sd_model_load(package.get(), variant, SD_VERIFY_FULL, &model, &error);
  CHECK((status == SD_OK) == (model != nullptr));
  sd_model_release(model);
  return {status, error.message};
}

void expect(const Outcome& outcome, sd_status status, const std::string& message) {
  INFO(std::string(outcome.message));
  CHECK(outcome.status == status);
  CHECK(outcome.message.find(message) != std::string::npos);
}

// The package with one entry changed behind the back of plan.bin, but with a fitting CRC.
Archive with(size_t entry, void (*change)(Blob* data)) {
  Archive archive = package(small_plan());
  change(&archive.entries[entry].data);
  return archive;
}

Archive requiring(const std::vector<std::string>& features) {
  PlanParts plan = small_plan();
  for (const std::string& feature : features) plan.features.push_back(plan.text(feature));
  plan.target.feature_count = uint32_t(features.size());
  return package(plan, small_params(), "v" + std::to_string(features.size()));
}

}  // namespace

TEST_CASE("a good package is opened, verified and loaded") {
  const Blob bytes = package(small_plan()).bytes();
  expect(load(bytes), SD_OK, "");
  expect(load(bytes, "test"), SD_OK, "");

  const Package opened = open_good(package(small_plan()));
  CHECK(sd_package_entry_count(opened.get()) == 4);
  sd_entry_info info;
  REQUIRE(sd_package_entry(opened.get(), 2, &info, nullptr) == SD_OK);
  CHECK(std::string(info.name) == "variants/test/kernels.so");
  CHECK(info.offset % 65536 == 0);
  CHECK(info.size == kernels().size());
  const void* data = nullptr;
  uint64_t size = 0;
  REQUIRE(sd_package_read(opened.get(), "manifest.json", &data, &size, nullptr) == SD_OK);
  CHECK(std::string(static_cast<const char*>(data), size) == "{\"format\": 1}");
  sd_error error;
  CHECK(sd_package_read(opened.get(), "manifest", &data, &size, &error) == SD_NOT_FOUND);
  CHECK(sd_package_entry(opened.get(), 4, &info, &error) == SD_INVALID_ARGUMENT);
}

TEST_CASE("a model outlives its package, and says what is in it") {
  const Model model = load_good(detector_plan());
  CHECK(std::string(sd_model_variant(model.get())) == "test");
  REQUIRE(sd_model_input_count(model.get()) == 1);
  REQUIRE(sd_model_output_count(model.get()) == 2);
  sd_tensor_info tensor;
  REQUIRE(sd_model_output(model.get(), 1, &tensor, nullptr) == SD_OK);
  CHECK(std::string(tensor.name) == "box");
  CHECK(tensor.dtype == SD_FLOAT32);
  CHECK(tensor.rank == 4);
  CHECK(tensor.dims[1] == 4);
  CHECK(tensor.bytes == 256);
  sd_error error;
  CHECK(sd_model_output(model.get(), 2, &tensor, &error) == SD_INVALID_ARGUMENT);
  CHECK(sd_model_input(model.get(), 1, &tensor, &error) == SD_INVALID_ARGUMENT);
  sd_call_info call;
  REQUIRE(sd_model_call(model.get(), 1, &call, nullptr) == SD_OK);
  CHECK(std::string(call.node) == "node1");
  CHECK(call.flops == 20);
  CHECK(call.tasks == 8);
  CHECK(sd_model_call(model.get(), 2, &call, &error) == SD_INVALID_ARGUMENT);
  CHECK(sd_model_has_pipeline(model.get()));
  CHECK(sd_model_label_count(model.get()) == 2);
  CHECK(std::string(sd_model_label(model.get(), 1)) == "sanderling");
  CHECK(sd_model_label(model.get(), 2) == nullptr);
}

TEST_CASE("every truncation of a package is refused") {
  const Blob bytes = package(small_plan()).bytes();
  for (size_t size = 0; size < bytes.size(); ++size) {
    const Result<Zip> zip = Zip::read({bytes.data(), size});
    REQUIRE(zip.status().code() == SD_BAD_PACKAGE);
  }
  const int fd = nameless_file(bytes);
  for (size_t size = bytes.size() - 1; size > 0;
       size = size > bytes.size() - 100 ? size - 1 : size / 2) {
    REQUIRE(ftruncate(fd, off_t(size)) == 0);
    sd_package* package = nullptr;
    sd_error error{};
    REQUIRE(sd_package_open_fd(fd, &package, &error) == SD_BAD_PACKAGE);
    REQUIRE(std::strlen(error.message) > 0);
  }
  close(fd);
}

TEST_CASE("a flipped bit is found wherever it is") {
  const Blob bytes = package(small_plan()).bytes();
  const Package good = open_good(package(small_plan()));
  std::vector<bool> covered(bytes.size());  // by a CRC: the data of entries
  std::vector<bool> headers_at(bytes.size());
  for (size_t i = 0; i < sd_package_entry_count(good.get()); ++i) {
    sd_entry_info info;
    REQUIRE(sd_package_entry(good.get(), i, &info, nullptr) == SD_OK);
    for (uint64_t at = info.offset; at < info.offset + info.size; ++at) covered[at] = true;
  }
  const auto starts = [&bytes](size_t at, const char* signature) {
    return at + 4 <= bytes.size() && std::memcmp(bytes.data() + at, signature, 4) == 0;
  };
  size_t directory = 0;
  while (covered[directory] || !starts(directory, "PK\1\2")) ++directory;
  for (size_t at = 0; at < bytes.size(); ++at) {
    if (at >= directory) headers_at[at] = true;
    if (covered[at] || !starts(at, "PK\3\4")) continue;
    // Up to the name, and the head of an extra field: its id and its size.
    const size_t end = at + 30 + bytes[at + 26] + (bytes[at + 28] + bytes[at + 29] > 0 ? 4 : 0);
    std::fill(headers_at.begin() + long(at), headers_at.begin() + long(end), true);
  }
  const int fd = nameless_file(bytes);
  size_t headers = 0, ignored = 0;
  for (size_t at = 0; at < bytes.size(); ++at) {
    const bool header = headers_at[at];
    // All bytes of headers, and every 13th of data and of the zeros between entries.
    if (!header && at % 13 != 0) continue;
    const uint8_t changed = bytes[at] ^ uint8_t(1 << at % 8);
    REQUIRE(pwrite(fd, &changed, 1, off_t(at)) == 1);
    sd_package* package = nullptr;
    sd_error error{};
    sd_status status = sd_package_open_fd(fd, &package, &error);
    if (status == SD_OK) status = sd_package_verify(package, &error);
    sd_package_close(package);
    REQUIRE(pwrite(fd, &bytes[at], 1, off_t(at)) == 1);
    CAPTURE(at);
    if (covered[at]) REQUIRE(status == SD_DIGEST_MISMATCH);
    if (status != SD_OK) REQUIRE(std::strlen(error.message) > 0);
    headers += header;
    ignored += header && status == SD_OK;
  }
  close(fd);
  CHECK(headers > 300);
  CHECK(ignored == 0);
}

TEST_CASE(
    "an entry with other contents than plan.bin was compiled with is refused, even with a fitting "
    "CRC") {
  expect(load(with(1, [](Blob* d) { (*d)[200] ^= 1; }).bytes()), SD_DIGEST_MISMATCH,
         "plan.bin: its SHA-256");
  expect(load(with(2, [](Blob* d) { (*d)[5000] ^= 1; }).bytes()), SD_DIGEST_MISMATCH,
         "SHA-256 of kernels.so");
  expect(load(with(3, [](Blob* d) { (*d)[0] ^= 1; }).bytes()), SD_DIGEST_MISMATCH,
         "SHA-256 of params.bin");
  expect(load(with(2, [](Blob* d) { d->push_back(0); }).bytes()), SD_DIGEST_MISMATCH,
         "plan.bin says");
  expect(load(with(3, [](Blob* d) { d->pop_back(); }).bytes()), SD_DIGEST_MISMATCH,
         "params.bin has 7 bytes");
}

TEST_CASE("loading checks kernels always, and parameters when asked") {
  expect(load(with(2, [](Blob* d) { (*d)[5000] ^= 1; }).bytes(), nullptr, false),
         SD_DIGEST_MISMATCH, "kernels.so: its SHA-256");
  const Blob params = with(3, [](Blob* d) { (*d)[0] ^= 1; }).bytes();
  expect(load(params, nullptr, false), SD_DIGEST_MISMATCH, "params.bin: its SHA-256");
  Package package;
  REQUIRE(open_bytes(params, &package, nullptr) == SD_OK);
  sd_model* model = nullptr;
  CHECK(sd_model_load(package.get(), nullptr, SD_VERIFY_FAST, &model, nullptr) == SD_OK);
  sd_model_release(model);
}

TEST_CASE("a variant that is not whole is refused") {
  Archive archive = package(small_plan());
  archive.entries.erase(archive.entries.begin() + 2);
  expect(load(archive.bytes()), SD_BAD_PACKAGE, "variant test: kernels.so is missing");
  archive = package(small_plan());
  archive.entries.pop_back();
  expect(load(archive.bytes()), SD_BAD_PACKAGE, "variant test: params.bin is missing");
  archive = package(small_plan());
  for (Entry& entry : archive.entries) {
    if (const size_t at = entry.name.find("/test/"); at != std::string::npos)
      entry.name.replace(at, 6, "/other/");
  }
  expect(load(archive.bytes()), SD_BAD_PACKAGE, "variant other: plan.bin is of target 'test'");
  archive = package(small_plan());
  archive.entries[1].data.clear();
  expect(load(archive.bytes()), SD_BAD_PACKAGE, "too few for a header");
}

TEST_CASE("a package without variants says so") {
  Archive archive = package(small_plan());
  archive.entries.resize(1);
  expect(load(archive.bytes()), SD_NOT_FOUND, "only the ONNX form");
  expect(load(package(small_plan()).bytes(), "avx9"), SD_NOT_FOUND, "no variant 'avx9'");
  expect(load(package(small_plan()).bytes(), ""), SD_NOT_FOUND, "no variant ''");
}

TEST_CASE("a variant for another CPU is refused before its code is looked at, and both are named") {
  Archive archive = requiring({"avx512teleport", "asimdquantum"});
  archive.entries[2].data[100] ^= 1;  // would not load: nobody gets that far
  const std::string cpu = sanderling::this_cpu().model;
  const Outcome outcome = load(archive.bytes(), nullptr, false);
  expect(outcome, SD_UNSUPPORTED_TARGET, "compiled for v2 (needs avx512teleport asimdquantum)");
  expect(outcome, SD_UNSUPPORTED_TARGET,
         "this CPU (" + cpu + ") lacks avx512teleport asimdquantum");
  expect(load(archive.bytes(), "v2", false), SD_UNSUPPORTED_TARGET, "lacks");

  PlanParts plan = small_plan();
  plan.target.arch = 3 - plan.target.arch;
  expect(load(package(plan).bytes(), nullptr, false), SD_UNSUPPORTED_TARGET, "compiled for test (");
}

TEST_CASE("of several variants the one with most required features runs") {
  const std::string all = sd_cpu_features();
  REQUIRE_FALSE(all.empty());
  const std::string one = all.substr(0, all.find(' '));
  Archive archive = requiring({});
  for (const Archive& other :
       {requiring({one, one}), requiring({one}), requiring({one, one, "avx512teleport"})}) {
    archive.entries.insert(archive.entries.end(), other.entries.begin() + 1, other.entries.end());
  }
  const Package package = open_good(archive);
  sd_model* model = nullptr;
  REQUIRE(sd_model_load(package.get(), nullptr, SD_VERIFY_FAST, &model, nullptr) == SD_OK);
  CHECK(std::string(sd_model_variant(model)) == "v2");
  sd_model_release(model);
  REQUIRE(sd_model_load(package.get(), "v0", SD_VERIFY_FAST, &model, nullptr) == SD_OK);
  CHECK(std::string(sd_model_variant(model)) == "v0");
  sd_model_release(model);
}

TEST_CASE("a kernel that kernels.so does not have is named") {
  PlanParts plan = small_plan();
  plan.kernels.push_back(plan.text("no_such_kernel"));
  expect(load(package(plan).bytes()), SD_BAD_PACKAGE, "no kernel 'no_such_kernel'");
}

TEST_CASE("kernels.so must be a shared object even if its digest fits") {
  PlanParts plan = small_plan();
  Archive archive = package(plan);
  const std::string text = "#!/bin/sh\nexit 1\n";
  archive.entries[2].data.assign(text.begin(), text.end());
  plan.blobs.clear();
  plan.blob(1, archive.entries[2].data);
  plan.blob(2, small_params());
  archive.entries[1].data = plan.bytes();
  expect(load(archive.bytes()), SD_BAD_PACKAGE, "no ELF file");
  expect(load(archive.bytes(), nullptr, false), SD_BAD_PACKAGE, "kernels.so: it is no ELF file");
}

TEST_CASE("files that are no packages are refused with their cause") {
  sd_package* package = nullptr;
  sd_error error;
  CHECK(sd_package_open("/nonexistent/x.sand", &package, &error) == SD_NOT_FOUND);
  CHECK(std::string(error.message).find("/nonexistent/x.sand") != std::string::npos);
  CHECK(sd_package_open("/", &package, &error) == SD_IO_ERROR);
  CHECK(sd_package_open("/dev/null", &package, &error) == SD_IO_ERROR);
  CHECK(sd_package_open("/proc/cpuinfo", &package, &error) == SD_BAD_PACKAGE);  // a file of no size
  CHECK(sd_package_open_fd(-1, &package, &error) == SD_IO_ERROR);
  CHECK(package == nullptr);
}

TEST_CASE("the caller's file descriptor stays the caller's") {
  const int fd = nameless_file(package(small_plan()).bytes());
  sd_package* package = nullptr;
  REQUIRE(sd_package_open_fd(fd, &package, nullptr) == SD_OK);
  CHECK(fcntl(fd, F_GETFD) >= 0);
  close(fd);
  CHECK(sd_package_verify(package, nullptr) == SD_OK);
  sd_package_close(package);
}

TEST_CASE("two models loaded one after the other each have their own kernels") {
  // The dynamic linker knows objects by name; a file descriptor that is used again would give it
  // the old one.
  const Model first = load_good(small_plan());
  PlanParts plan = small_plan();
  plan.calls[2].kernel = 2;  // copy instead of reverse: another plan, same code
  plan.args[7] = plan.args[8];
  plan.calls[2].arg_count = 2;
  const Model second = load_good(plan);
  const std::vector<float> x = {0, 1, 2, 3, 4, 5, 6, 7};
  std::vector<float> input(32), a(32), b(32);
  std::copy(x.begin(), x.end(), input.begin());
  const void* inputs[] = {input.data()};
  void* outputs_a[] = {a.data()};
  void* outputs_b[] = {b.data()};
  REQUIRE(sd_session_run(session_of(first).get(), inputs, outputs_a, nullptr) == SD_OK);
  REQUIRE(sd_session_run(session_of(second).get(), inputs, outputs_b, nullptr) == SD_OK);
  CHECK(a[0] == b[7]);
  CHECK(a[7] == b[0]);
}

TEST_CASE("null arguments are errors") {
  sd_error error;
  sd_package* package = nullptr;
  sd_model* model = nullptr;
  CHECK(sd_package_open(nullptr, &package, &error) == SD_INVALID_ARGUMENT);
  CHECK(sd_package_open("x", nullptr, &error) == SD_INVALID_ARGUMENT);
  CHECK(sd_package_open_fd(0, nullptr, &error) == SD_INVALID_ARGUMENT);
  CHECK(sd_package_verify(nullptr, &error) == SD_INVALID_ARGUMENT);
  CHECK(sd_package_entry(nullptr, 0, nullptr, &error) == SD_INVALID_ARGUMENT);
  CHECK(sd_package_read(nullptr, nullptr, nullptr, nullptr, &error) == SD_INVALID_ARGUMENT);
  CHECK(sd_model_load(nullptr, nullptr, SD_VERIFY_FAST, &model, &error) == SD_INVALID_ARGUMENT);
  CHECK(sd_model_input(nullptr, 0, nullptr, &error) == SD_INVALID_ARGUMENT);
  CHECK(sd_model_call(nullptr, 0, nullptr, &error) == SD_INVALID_ARGUMENT);
  CHECK(sd_session_create(nullptr, nullptr, nullptr, &error) == SD_INVALID_ARGUMENT);
  CHECK(sd_session_run(nullptr, nullptr, nullptr, &error) == SD_INVALID_ARGUMENT);
  CHECK(sd_pool_create(1, nullptr, &error) == SD_INVALID_ARGUMENT);
  sd_package_close(nullptr);
  sd_model_release(nullptr);
  sd_session_destroy(nullptr);
  sd_session_cancel(nullptr);
  sd_pool_release(nullptr);
  CHECK(sd_package_entry_count(nullptr) == 0);
  CHECK(sd_model_call_count(nullptr) == 0);
}

TEST_CASE("every status has a name") {
  for (int status = SD_OK; status <= SD_INTERNAL; ++status) {
    CHECK(std::string(sd_status_name(static_cast<sd_status>(status))) != "unknown status");
  }
  CHECK(std::string(sd_status_name(static_cast<sd_status>(99))) == "unknown status");
  CHECK(std::string(sd_version()).find('.') != std::string::npos);
}
