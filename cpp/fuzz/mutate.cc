#include "mutate.h"

#include <iterator>
#include <map>
#include <random>

#include "core/crc32.h"
#include "core/plan_format.h"
#include "core/sha256.h"

using namespace sanderling;

namespace {

constexpr size_t kLocalHeader = 30, kCentralHeader = 46, kEndRecord = 22;

template <typename T>
T get(const builder::Blob& bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

struct ZipPlace {
  size_t central, local, data, size;
};

// By name; entries that do not lie inside the file are left out.
std::map<std::string, ZipPlace> places(const builder::Blob& file) {
  std::map<std::string, ZipPlace> found;
  if (file.size() < kEndRecord) return found;
  const size_t end = file.size() - kEndRecord;
  size_t at = get<uint32_t>(file, end + 16);
  while (at <= end && end - at >= kCentralHeader) {
    const size_t name = get<uint16_t>(file, at + 28);
    const size_t behind = size_t{get<uint16_t>(file, at + 30)} + get<uint16_t>(file, at + 32);
    if (name + behind > end - at - kCentralHeader) break;
    const auto* text = reinterpret_cast<const char*>(file.data() + at + kCentralHeader);
    ZipPlace place{at, get<uint32_t>(file, at + 42), 0, get<uint32_t>(file, at + 24)};
    if (place.local < end && end - place.local >= kLocalHeader) {
      place.data = place.local + kLocalHeader + get<uint16_t>(file, place.local + 26) +
                   get<uint16_t>(file, place.local + 28);
      if (place.data <= end && place.size <= end - place.data)
        found[std::string(text, name)] = place;
    }
    at += kCentralHeader + name + behind;
  }
  return found;
}

// In the BLOBS section of a plan: what it says of kernels.so (0) or params.bin (1).
void repair_blob(builder::Blob* plan, size_t which, Bytes contents) {
  const size_t sections = std::min<uint32_t>(get<uint32_t>(*plan, 24), kMaxSections);
  for (size_t i = 0; i < sections; ++i) {
    const size_t entry = sizeof(PlanHeader) + i * sizeof(SectionRecord);
    if (!fits(entry, sizeof(SectionRecord), plan->size())) return;
    const auto section = get<SectionRecord>(*plan, entry);
    const uint64_t offset = section.offset + which * sizeof(BlobRecord);
    if (section.kind != 4 || section.count <= which) continue;
    if (section.offset > plan->size() || !fits(offset, sizeof(BlobRecord), plan->size())) return;
    builder::put<uint64_t>(plan, offset + 8, contents.size);
    builder::put(plan, offset + 16, sha256(contents));
  }
}

}  // namespace

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);

size_t mutate(uint8_t* data, size_t size, size_t most, unsigned seed) {
  std::minstd_rand random(seed);
  if (size < 8 || random() % 2 == 0) return LLVMFuzzerMutate(data, size, most);
  const auto any = [&] { return random() % (size / 4) * 4; };
  const size_t at = any();
  uint32_t value, other;
  std::memcpy(&value, data + at, sizeof(value));
  std::memcpy(&other, data + any(), sizeof(other));
  const uint32_t choices[] = {value + 1,  value - 1, value * 2,  value + 64, other,        0, 1,
                              UINT32_MAX, 1U << 31,  value ^ 1U, other + 1,  value - other};
  value = choices[random() % std::size(choices)];
  std::memcpy(data + at, &value, sizeof(value));
  return size;
}

void repair_plan(builder::Blob* plan) {
  if (plan->size() < sizeof(PlanHeader)) return;
  builder::put<uint64_t>(plan, 16, plan->size());
  builder::seal(plan);
}

void repair_package(builder::Blob* package) {
  const std::map<std::string, ZipPlace> entries = places(*package);
  const auto contents = [&](const ZipPlace& place) {
    return Bytes{package->data() + place.data, place.size};
  };
  for (const auto& [name, place] : entries) {
    const std::string file = name.substr(name.rfind('/') + 1);
    if (file != "plan.bin" || place.size < sizeof(PlanHeader)) continue;
    const Bytes bytes = contents(place);
    builder::Blob plan(bytes.data, bytes.data + bytes.size);
    const std::string folder = name.substr(0, name.size() - file.size());
    size_t which = 0;
    for (const char* blob : {"kernels.so", "params.bin"}) {
      const auto found = entries.find(folder + blob);
      if (found != entries.end()) repair_blob(&plan, which, contents(found->second));
      ++which;
    }
    repair_plan(&plan);
    std::memcpy(package->data() + place.data, plan.data(), plan.size());
  }
  for (const auto& [name, place] : entries) {
    const uint32_t crc = crc32(contents(place));
    builder::put(package, place.central + 16, crc);
    builder::put(package, place.local + 14, crc);
  }
}
