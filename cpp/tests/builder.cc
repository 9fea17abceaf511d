#include "builder.h"

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "core/crc32.h"
#include "core/sha256.h"

namespace builder {
namespace {

using namespace sanderling;

template <typename T>
void append(Blob* to, const T& value) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(&value);
  to->insert(to->end(), bytes, bytes + sizeof(T));
}

void append(Blob* to, const Blob& bytes) { to->insert(to->end(), bytes.begin(), bytes.end()); }
void append(Blob* to, const std::string& text) { to->insert(to->end(), text.begin(), text.end()); }

template <typename T>
Section section(uint32_t kind, const std::vector<T>& records) {
  Section result{kind, sizeof(T), {}};
  for (const T& record : records) append(&result.bytes, record);
  return result;
}

uint32_t alignment_of(const std::string& name) {
  const std::string file = name.substr(name.rfind('/') + 1);
  if (file == "kernels.so" || file == "params.bin" || file == "model.onnx") return 65536;
  return file == "plan.bin" ? 64 : 1;
}

// Flags to extra size, as both headers have them.
void append_common(Blob* to, const Entry& entry, uint16_t extra) {
  append(to, entry.flags);
  append(to, entry.method);
  append(to, uint32_t{0x00210000});  // 1980-01-01
  append(to, crc32(view(entry.data)));
  append(to, uint32_t(entry.data.size()));
  append(to, uint32_t(entry.data.size()));
  append(to, uint16_t(entry.name.size()));
  append(to, extra);
}

}  // namespace

Bytes view(const Blob& bytes) { return {bytes.data(), bytes.size()}; }

StringRef PlanParts::text(const std::string& text) {
  const StringRef ref{uint32_t(strings.size()), uint32_t(text.size())};
  strings += text;
  strings += '\0';
  return ref;
}

void PlanParts::tensor(const std::string& name, Role role, std::vector<int64_t> dims,
                       uint32_t dtype) {
  TensorRecord record{};
  record.name = text(name);
  record.role = uint32_t(role);
  record.dtype = dtype;
  record.rank = uint32_t(dims.size());
  record.bytes = item_size(dtype);
  for (size_t i = 0; i < dims.size(); ++i) {
    record.dims[i] = dims[i];
    record.bytes *= uint64_t(dims[i]);
  }
  tensors.push_back(record);
}

void PlanParts::call(uint32_t kernel, uint32_t tasks, std::vector<ArgRecord> call_args,
                     uint32_t grain) {
  CallRecord record{};
  record.kernel = kernel;
  record.tasks = tasks;
  record.first_arg = uint32_t(args.size());
  record.arg_count = uint32_t(call_args.size());
  record.grain = grain;
  record.node = text("node" + std::to_string(calls.size()));
  record.kind = text("test");
  record.flops = 10 * (calls.size() + 1);
  calls.push_back(record);
  args.insert(args.end(), call_args.begin(), call_args.end());
}

void PlanParts::blob(uint32_t kind, const Blob& contents) {
  blobs.push_back({kind, 0, contents.size(), sha256(view(contents))});
}

std::vector<Section> PlanParts::sections() const {
  std::vector<Section> all = {
      {1, 1, Blob(strings.begin(), strings.end())},
      section(2, std::vector<TargetRecord>{target}),
      section(3, features),
      section(4, blobs),
      section(5, tensors),
      section(6, kernels),
      section(7, buffers),
      section(8, calls),
      section(9, args),
      section(10, pipelines),
      section(11, levels),
      section(12, labels),
  };
  std::vector<Section> filled;
  for (Section& one : all) {
    if (!one.bytes.empty()) filled.push_back(std::move(one));
  }
  return filled;
}

Blob PlanParts::bytes() const { return assemble(sections(), arena_bytes, scratch_bytes); }

Blob assemble(const std::vector<Section>& sections, uint64_t arena_bytes, uint64_t scratch_bytes) {
  Blob table, body;
  const uint64_t start = sizeof(PlanHeader) + sections.size() * sizeof(SectionRecord);
  for (const Section& one : sections) {
    append(&table, SectionRecord{one.kind, one.record_size, start + body.size(),
                                 one.bytes.size() / one.record_size});
    append(&body, one.bytes);
    body.resize(round_up(body.size(), 8));
  }
  PlanHeader header{};
  std::memcpy(header.magic, kPlanMagic, sizeof(kPlanMagic));
  header.version = 1;
  header.header_size = sizeof(PlanHeader);
  header.size = start + body.size();
  header.sections = uint32_t(sections.size());
  header.kernel_abi = 1;
  header.arena_bytes = arena_bytes;
  header.scratch_bytes = scratch_bytes;
  Blob plan;
  append(&plan, header);
  append(&plan, table);
  append(&plan, body);
  seal(&plan);
  return plan;
}

void seal(Blob* plan) {
  put(plan, kDigestOffset, Digest{});
  put(plan, kDigestOffset, sha256(view(*plan)));
}

ArgRecord arena(uint32_t buffer, uint32_t access, uint64_t size, uint64_t offset) {
  return {uint32_t(Place::kArena), access, buffer, 4, offset, size};
}

ArgRecord params(uint64_t size, uint64_t offset) {
  return {uint32_t(Place::kParams), kRead, 0, 4, offset, size};
}

ArgRecord caller(Place place, uint32_t tensor, uint64_t size, uint64_t offset) {
  return {
      uint32_t(place), uint32_t(place == Place::kInput ? kRead : kWrite), tensor, 1, offset, size};
}

ArgRecord scratch(uint64_t size, uint64_t offset) {
  return {uint32_t(Place::kScratch), kBoth, 0, 4, offset, size};
}

Blob Archive::bytes() const {
  Blob file, directory;
  for (const Entry& entry : entries) {
    const uint64_t alignment = entry.alignment != 0 ? entry.alignment : alignment_of(entry.name);
    uint64_t begin = file.size() + 30 + entry.name.size();
    uint64_t padding = round_up(begin, alignment) - begin;
    if (padding > 0 && padding < 4) file.resize(file.size() + padding), padding = 0;
    const uint32_t offset = uint32_t(file.size());

    Blob local;
    append(&local, uint32_t{0x04034b50});
    append(&local, uint16_t{20});
    append_common(&local, entry, uint16_t(padding));
    append(&local, entry.name);
    if (padding > 0) {
      append(&local, uint16_t{0x4e53});
      append(&local, uint16_t(padding - 4));
      local.resize(local.size() + padding - 4);
    }
    if (entry.edit_local) entry.edit_local(&local);
    append(&file, local);
    append(&file, entry.data);

    Blob central;
    append(&central, uint32_t{0x02014b50});
    append(&central, uint32_t{20 | 20 << 16});
    append_common(&central, entry, 0);
    append(&central, entry.comment);
    append(&central, entry.disk);
    append(&central, uint16_t{0});
    append(&central, entry.attributes);
    append(&central, offset);
    append(&central, entry.name);
    central.resize(central.size() + entry.comment);
    if (entry.edit_central) entry.edit_central(&central);
    append(&directory, central);
  }
  Blob end;
  append(&end, uint32_t{0x06054b50});
  append(&end, uint32_t{0});
  append(&end, uint16_t(entries.size()));
  append(&end, uint16_t(entries.size()));
  append(&end, uint32_t(directory.size()));
  append(&end, uint32_t(file.size()));
  append(&end, uint16_t{0});
  if (edit_end) edit_end(&end);
  append(&file, directory);
  append(&file, end);
  append(&file, tail);
  return file;
}

const Blob& kernels() {
  static const Blob code = [] {
    std::ifstream file(SANDERLING_TEST_KERNELS, std::ios::binary);
    return Blob(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }();
  if (code.empty()) std::abort();  // the build has not made it
  return code;
}

Blob floats(const std::vector<float>& values) {
  Blob bytes;
  for (const float value : values) append(&bytes, value);
  return bytes;
}

Blob small_params() { return floats({2, 1}); }

PlanParts small_plan() {
  PlanParts plan;
  plan.target.name = plan.text("test");
#if defined(__x86_64__)
  plan.target.arch = uint32_t(Arch::kX86_64);
#else
  plan.target.arch = uint32_t(Arch::kAArch64);
#endif
  plan.blob(1, kernels());
  plan.blob(2, small_params());
  plan.tensor("x", Role::kInput, {1, 4, 8});
  plan.tensor("y", Role::kOutput, {1, 4, 8});
  for (const char* name : {"scale", "reverse", "copy"}) plan.kernels.push_back(plan.text(name));
  plan.arena_bytes = 256;
  plan.scratch_bytes = 100;
  plan.buffers = {{0, 128, 0, 1}, {128, 128, 1, 2}, {0, 128, 2, 3}};
  plan.call(0, 4, {caller(Place::kInput, 0, 128), params(8), arena(0, kWrite, 128)});
  plan.call(0, 4, {arena(0, kRead, 128), params(8), arena(1, kWrite, 128)});
  plan.call(1, 4, {arena(1, kRead, 128), scratch(32, 32), arena(2, kWrite, 128)});
  plan.call(2, 4, {arena(2, kRead, 128), caller(Place::kOutput, 1, 128)});
  return plan;
}

PlanParts detector_plan() {
  PlanParts plan = small_plan();
  plan.tensors.clear();
  plan.buffers.clear();
  plan.calls.clear();
  plan.args.clear();
  plan.tensor("image", Role::kInput, {1, 3, 16, 16});
  plan.tensor("cls", Role::kOutput, {1, 2, 4, 4});
  plan.tensor("box", Role::kOutput, {1, 4, 4, 4});
  plan.call(2, 4, {caller(Place::kInput, 0, 128), caller(Place::kOutput, 1, 128)});
  plan.call(2, 8, {caller(Place::kInput, 0, 256, 1024), caller(Place::kOutput, 2, 256)});
  PipelineRecord pipeline{};
  pipeline.task = uint32_t(Task::kDetect);
  pipeline.color = pipeline.resize = 1;
  for (float& value : pipeline.std) value = 64;
  pipeline.pad_value = 114;
  pipeline.decode = pipeline.score = 1;
  pipeline.score_threshold = 0.5F;
  pipeline.nms_iou = 0.5F;
  pipeline.max_detections = 10;
  pipeline.level_count = 1;
  pipeline.label_count = 2;
  plan.pipelines.push_back(pipeline);
  plan.levels.push_back({4, 1, 2, kNone});
  plan.labels = {plan.text("dunlin"), plan.text("sanderling")};
  return plan;
}

PlanParts bounded_plan() {
  PlanParts plan = small_plan();
  plan.buffers = {{64, 8, 0, 1}};
  plan.calls.clear();
  plan.args.clear();
  plan.kernels.push_back(plan.text("count"));
  plan.call(3, 1, {caller(Place::kInput, 0, 128), arena(0, kWrite, 8)});
  plan.call(2, 4, {caller(Place::kInput, 0, 128), caller(Place::kOutput, 1, 128)});
  plan.tensors[1].bounded = 2;
  return plan;
}

Archive package(PlanParts plan, const Blob& params_bin, const std::string& variant) {
  plan.target.name = plan.text(variant);
  plan.blobs.clear();
  plan.blob(1, kernels());
  plan.blob(2, params_bin);
  const std::string folder = "variants/" + variant + "/";
  const std::string manifest = "{\"format\": 1}";
  Archive archive;
  archive.entries.push_back({"manifest.json", Blob(manifest.begin(), manifest.end())});
  archive.entries.push_back({folder + "plan.bin", plan.bytes()});
  archive.entries.push_back({folder + "kernels.so", kernels()});
  archive.entries.push_back({folder + "params.bin", params_bin});
  return archive;
}

}  // namespace builder
