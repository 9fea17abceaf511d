#include "report.h"

#include <algorithm>
#include <cstdio>
#include <numeric>

#include "json.h"

namespace tools {
namespace {

const char* dtype_name(sd_dtype dtype) {
  static const char* const kNames[] = {"?",     "float32", "float16", "bfloat16", "int8",
                                       "uint8", "int16",   "uint16",  "int32",    "uint32",
                                       "int64", "uint64",  "float64", "bool"};
  return kNames[dtype];
}

std::string tensor_json(const sd_tensor_info& info, const int64_t* dims) {
  Json shape('[');
  for (int i = 0; i < info.rank; ++i) shape.add(nullptr, dims[i]);
  Json item('{');
  item.add("name", info.name).add("dtype", dtype_name(info.dtype)).raw("shape", shape.text());
  return item.text();
}

std::string inputs_json(const Loaded& loaded) {
  Json list('[');
  for (const Tensor& tensor : loaded.inputs)
    list.raw(nullptr, tensor_json(tensor.info, tensor.info.dims));
  return list.text();
}

// With the shapes of the last run.
std::string outputs_json(const Loaded& loaded) {
  Json list('[');
  for (size_t i = 0; i < loaded.outputs.size(); ++i)
    list.raw(nullptr, tensor_json(loaded.outputs[i].info, loaded.output_dims(i).data()));
  return list.text();
}

std::string label_of(const Report& report, int32_t label) {
  const char* name = sd_model_label(report.loaded.model.get(), size_t(label));
  return name != nullptr ? name : std::to_string(label);
}

void print_json(const Options& options, const Report& report) {
  const Statistics s = statistics(report.runs_ms);
  Json json('{');
  json.add("version", sd_version())
      .add("package", options.package)
      .add("variant", sd_model_variant(report.loaded.model.get()))
      .add("threads", options.threads)
      .raw("inputs", inputs_json(report.loaded))
      .raw("outputs", outputs_json(report.loaded))
      .add("arena_bytes", sd_model_arena_bytes(report.loaded.model.get()))
      .add("before_main_ms", report.before_main_ms)
      .add("load_ms", report.load_ms)
      .add("first_ms", report.first_ms)
      .add("first_peak_rss_bytes", report.first_memory)
      .add("peak_rss_bytes", report.memory)
      .add("runs", report.runs_ms.size());
  if (!report.runs_ms.empty()) {
    json.add("min_ms", s.min)
        .add("p50_ms", s.p50)
        .add("p90_ms", s.p90)
        .add("p99_ms", s.p99)
        .add("mean_ms", s.mean);
    json.add("throughput_per_s", 1000 / s.mean);
  }
  if (options.profile) {
    Json list('[');
    for (const CallReport& call : report.calls) {
      Json item('{');
      item.add("node", call.info.node).add("kind", call.info.kind).add("flops", call.info.flops);
      item.add("tasks", call.info.tasks)
          .add("min_ms", call.milliseconds.min)
          .add("p50_ms", call.milliseconds.p50);
      list.raw(nullptr, item.text());
    }
    json.raw("calls", list.text());
  }
  if (options.detect) {
    Json list('[');
    for (const sd_detection& d : report.detections) {
      Json box('[');
      box.add(nullptr, d.x1).add(nullptr, d.y1).add(nullptr, d.x2).add(nullptr, d.y2);
      Json item('{');
      item.add("label", label_of(report, d.label)).add("score", d.score).raw("box", box.text());
      list.raw(nullptr, item.text());
    }
    json.raw("detections", list.text());
  }
  std::printf("%s\n", json.text().c_str());
}

void print_calls(const Report& report) {
  const double total = std::accumulate(
      report.calls.begin(), report.calls.end(), 0.0,
      [](double sum, const CallReport& call) { return sum + call.milliseconds.p50; });
  std::printf("\n%9s %9s %6s %8s %6s  %s\n", "min ms", "p50 ms", "share", "GFLOP/s", "tasks",
              "node (kind)");
  for (const CallReport& call : report.calls) {
    const double ms = call.milliseconds.p50;
    std::printf("%9.4f %9.4f %5.1f%% %8.1f %6u  %s (%s)\n", call.milliseconds.min, ms,
                total > 0 ? 100 * ms / total : 0, ms > 0 ? double(call.info.flops) / ms / 1e6 : 0,
                call.info.tasks, call.info.node, call.info.kind);
  }
}

void print_text(const Options& options, const Report& report) {
  const Statistics s = statistics(report.runs_ms);
  std::printf("%s, variant %s, %d thread%s\n", options.package.c_str(),
              sd_model_variant(report.loaded.model.get()), options.threads,
              options.threads == 1 ? "" : "s");
  for (const sd_detection& d : report.detections) {
    std::printf("  %-20s %.3f  (%.1f, %.1f) – (%.1f, %.1f)\n", label_of(report, d.label).c_str(),
                double(d.score), double(d.x1), double(d.y1), double(d.x2), double(d.y2));
  }
  if (options.detect && report.detections.empty()) std::printf("  nothing found\n");
  std::printf(
      "first result  %8.3f ms after main() began (loading %.3f, before main %.3f of CPU), peak "
      "%.1f MB\n",
      report.first_ms, report.load_ms, report.before_main_ms, double(report.first_memory) / 1e6);
  if (!report.runs_ms.empty()) {
    std::printf(
        "%-6zu runs   %8.3f ms median, min %.3f, p90 %.3f, p99 %.3f, mean %.3f; %.1f per second\n",
        report.runs_ms.size(), s.p50, s.min, s.p90, s.p99, s.mean, 1000 / s.mean);
  }
  std::printf("peak memory   %8.1f MB\n", double(report.memory) / 1e6);
  if (options.profile) print_calls(report);
}

}  // namespace

void print_report(const Options& options, const Report& report) {
  options.json ? print_json(options, report) : print_text(options, report);
}

void print_info(const Options& options) {
  const Package package = open<Package>(sd_package_open, options.package.c_str());
  Json list('[');
  for (size_t i = 0; i < sd_package_entry_count(package.get()); ++i) {
    sd_entry_info entry;
    sd_error error;
    check(sd_package_entry(package.get(), i, &entry, &error), error);
    Json item('{');
    item.add("name", entry.name)
        .add("offset", entry.offset)
        .add("size", entry.size)
        .add("crc32", entry.crc32);
    list.raw(nullptr, item.text());
    if (!options.json) std::printf("%12lu  %08x  %s\n", entry.size, entry.crc32, entry.name);
  }
  sd_error error;
  check(sd_package_verify(package.get(), &error), error);
  if (options.json) {
    std::printf(
        "%s\n",
        Json('{').add("package", options.package).raw("entries", list.text()).text().c_str());
  } else {
    std::printf("verified: CRCs, plans, digests of kernels and parameters\n");
  }
}

}  // namespace tools
