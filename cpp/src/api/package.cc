#include <cstdio>

#include "api/handles.h"
#include "core/elf.h"

namespace sanderling {
namespace {

constexpr char kVariants[] = "variants/";
constexpr char kPlan[] = "/plan.bin";
constexpr int kPathSize = 256;  // entry names have at most 255 bytes

Result<Bytes> find_blob(const sd_package& package, const char* variant, int length,
                        const char* file, const BlobRecord& blob) {
  char path[kPathSize];
  const int size = snprintf(path, sizeof(path), "%s%.*s/%s", kVariants, length, variant, file);
  const ZipEntry* entry = size < kPathSize ? package.zip.find(path) : nullptr;
  if (entry == nullptr) return Status::error(SD_BAD_PACKAGE, "%s is missing", file);
  if (entry->size != blob.size) {
    return Status::error(SD_DIGEST_MISMATCH, "%s has %lu bytes; plan.bin says %lu", file,
                         entry->size, blob.size);
  }
  return contents(package, *entry);
}

Result<sd_package*> open_package(Result<Ref<MappedFile>> file) {
  if (!file.ok()) return file.status();
  Result<Zip> zip = Zip::read(file.value()->bytes());
  if (!zip.ok()) return zip.status();
  sd_package* package = create<sd_package>();
  if (package == nullptr) return out_of_memory(sizeof(sd_package), "package");
  package->file = std::move(file.value());
  package->zip = std::move(zip.value());
  return package;
}

sd_status hand_out(Result<sd_package*> package, sd_package** out, sd_error* error) {
  *out = package.value();
  return report(package.status(), error);
}

Status verify(const sd_package& package) {
  for (const ZipEntry& entry : package.zip.entries())
    SD_TRY(check_crc(package.file->bytes(), entry));
  for (const ZipEntry& entry : package.zip.entries()) {
    int length = 0;
    if (variant_name(entry, &length) == nullptr) continue;
    Result<Variant> variant = read_variant(package, entry);
    if (!variant.ok()) return variant.status();
    const Plan& plan = variant->plan;
    const char* name = plan.text(plan.target().name);
    if (sha256(variant->kernels) != plan.kernels_blob().digest) {
      return Status::error(SD_DIGEST_MISMATCH,
                           "variant %s: the SHA-256 of kernels.so is not the one in plan.bin",
                           name);
    }
    const Status elf = check_elf(variant->kernels, static_cast<Arch>(plan.target().arch));
    if (!elf.ok()) return elf.about("kernels.so").about(name);
    if (sha256(variant->params) != plan.params_blob().digest) {
      return Status::error(SD_DIGEST_MISMATCH,
                           "variant %s: the SHA-256 of params.bin is not the one in plan.bin",
                           name);
    }
  }
  return {};
}

}  // namespace

const char* variant_name(const ZipEntry& entry, int* length) {
  constexpr size_t kBefore = sizeof(kVariants) - 1, kAfter = sizeof(kPlan) - 1;
  const size_t size = std::strlen(entry.name);
  if (size <= kBefore + kAfter || std::memcmp(entry.name, kVariants, kBefore) != 0) return nullptr;
  const char* name = entry.name + kBefore;
  *length = int(size - kBefore - kAfter);
  if (std::strcmp(name + *length, kPlan) != 0 || std::memchr(name, '/', size_t(*length)) != nullptr)
    return nullptr;
  return name;
}

Result<Variant> read_variant(const sd_package& package, const ZipEntry& plan_entry) {
  int length = 0;
  const char* name = variant_name(plan_entry, &length);
  char about[kPathSize + 16];
  snprintf(about, sizeof(about), "variant %.*s", length, name);

  Result<Plan> plan = Plan::read(contents(package, plan_entry));
  if (!plan.ok()) return plan.status().about("plan.bin").about(about);
  const StringRef target = plan->target().name;
  if (target.length != uint32_t(length) ||
      std::memcmp(plan->text(target), name, target.length) != 0) {
    return Status::error(SD_BAD_PACKAGE, "plan.bin is of target '%s'", plan->text(target))
        .about(about);
  }
  Result<Bytes> kernels = find_blob(package, name, length, "kernels.so", plan->kernels_blob());
  if (!kernels.ok()) return kernels.status().about(about);
  Result<Bytes> params = find_blob(package, name, length, "params.bin", plan->params_blob());
  if (!params.ok()) return params.status().about(about);
  Variant variant;
  variant.plan = std::move(plan.value());
  variant.kernels = kernels.value();
  variant.params = params.value();
  return variant;
}

}  // namespace sanderling

using sanderling::MappedFile;
using sanderling::null_argument;
using sanderling::report;
using sanderling::Status;

extern "C" {

sd_status sd_package_open(const char* path, sd_package** out, sd_error* error) {
  if (path == nullptr || out == nullptr) return report(null_argument("path or out"), error);
  sanderling::Result<sd_package*> package = sanderling::open_package(MappedFile::open(path));
  if (!package.ok()) package = package.status().about(path);
  return sanderling::hand_out(std::move(package), out, error);
}

sd_status sd_package_open_fd(int fd, sd_package** out, sd_error* error) {
  if (out == nullptr) return report(null_argument("out"), error);
  return sanderling::hand_out(sanderling::open_package(MappedFile::open(fd)), out, error);
}

void sd_package_close(sd_package* package) { sanderling::destroy(package); }

size_t sd_package_entry_count(const sd_package* package) {
  return package == nullptr ? 0 : package->zip.entries().size();
}

sd_status sd_package_entry(const sd_package* package, size_t index, sd_entry_info* out,
                           sd_error* error) {
  if (package == nullptr || out == nullptr) return report(null_argument("package or out"), error);
  if (index >= package->zip.entries().size()) {
    return report(Status::error(SD_INVALID_ARGUMENT, "entry %zu does not exist", index), error);
  }
  const sanderling::ZipEntry& entry = package->zip.entries()[index];
  *out = {entry.name, entry.offset, entry.size, entry.crc32};
  return report({}, error);
}

sd_status sd_package_read(const sd_package* package, const char* name, const void** data,
                          uint64_t* size, sd_error* error) {
  if (package == nullptr || name == nullptr || data == nullptr || size == nullptr) {
    return report(null_argument("an argument"), error);
  }
  const sanderling::ZipEntry* entry = package->zip.find(name);
  if (entry == nullptr)
    return report(Status::error(SD_NOT_FOUND, "the package has no entry '%s'", name), error);
  const sanderling::Bytes bytes = sanderling::contents(*package, *entry);
  *data = bytes.data;
  *size = bytes.size;
  return report({}, error);
}

sd_status sd_package_verify(const sd_package* package, sd_error* error) {
  if (package == nullptr) return report(null_argument("package"), error);
  return report(sanderling::verify(*package), error);
}

}  // extern "C"
