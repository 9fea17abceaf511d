// sanderling-run: runs a package from the command line and says how long it takes.
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <new>

#include "handles.h"
#include "input_files.h"
#include "options.h"
#include "report.h"
#include "serve.h"
#include "statistics.h"

namespace tools {
namespace {

// Both taken first of all in main().
struct Start {
  uint64_t ns;
  uint64_t cpu_ns;  // what the dynamic linker and the kernel's exec took
};

// Fills an input from a file; an image goes through the package's pipeline.
void read_input(Loaded* loaded, size_t i, const std::string& path) {
  Tensor& input = loaded->inputs[i];
  if (!is_image(path)) return read_tensor(path, &input);
  const Image image = read_image(path);
  sd_error error;
  check(sd_session_preprocess(loaded->session.get(), image.rgb.data(), image.height, image.width,
                              image.width * 3, input.bytes.data(), &error),
        error);
}

void write_outputs(const Loaded& loaded, const std::string& path) {
  struct stat info;
  const bool folder = stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
  if (!folder && loaded.outputs.size() == 1 && path.back() != '/')
    return write_file(path, loaded.output_bytes(0));
  if (!folder && mkdir(path.c_str(), 0777) != 0)
    throw Failure(path + ": cannot be created: " + std::strerror(errno));
  for (size_t i = 0; i < loaded.outputs.size(); ++i) {
    write_file(path + "/output" + std::to_string(i) + ".bin", loaded.output_bytes(i));
  }
}

std::vector<sd_detection> detect(const Loaded& loaded, const Image& image, double threshold) {
  std::vector<sd_detection> detections(65536);
  size_t count = 0;
  sd_error error;
  check(sd_session_detect(loaded.session.get(), image.rgb.data(), image.height, image.width,
                          image.width * 3, float(threshold), detections.data(), detections.size(),
                          &count, &error),
        error);
  detections.resize(count);
  return detections;
}

// Calls `once` until the time or the number of runs is reached, and returns milliseconds.
template <typename Once>
std::vector<double> measure(const Options& options, Once once) {
  std::vector<double> milliseconds;
  for (int i = 0; i < options.warmup && (options.runs > 0 || options.duration > 0); ++i) once();
  const uint64_t begin = now_ns();
  for (uint64_t before = begin;;) {
    const double elapsed = double(before - begin) / 1e9;
    if (options.duration > 0 ? elapsed >= options.duration
                             : milliseconds.size() >= size_t(options.runs))
      break;
    once();
    const uint64_t after = now_ns();
    milliseconds.push_back(double(after - before) / 1e6);
    before = after;
  }
  return milliseconds;
}

Report run_package(const Options& options, const Start& start) {
  Report report;
  Pool pool;
  if (options.threads > 1) pool = open<Pool>(sd_pool_create, int32_t(options.threads));
  Loaded loaded =
      load(options.package, options.variant ? options.variant->c_str() : nullptr, pool.get());
  report.load_ms = double(now_ns() - start.ns) / 1e6;
  const sd_model* model = loaded.model.get();

  Image image;
  if (options.detect) image = read_image(*options.detect);
  if (!options.inputs.empty() && options.inputs.size() != loaded.inputs.size()) {
    throw Failure("the model has " + std::to_string(loaded.inputs.size()) +
                  " inputs, but --input is given " + std::to_string(options.inputs.size()) +
                  " times");
  }
  for (size_t i = 0; i < options.inputs.size(); ++i) read_input(&loaded, i, options.inputs[i]);

  if (options.detect) {
    report.detections = detect(loaded, image, options.threshold);
  } else {
    loaded.run();
  }
  report.first_ms = double(now_ns() - start.ns) / 1e6;
  report.first_memory = peak_memory_bytes();
  if (options.output) write_outputs(loaded, *options.output);

  std::vector<uint64_t> nanoseconds;
  std::vector<std::vector<double>> calls(options.profile ? sd_model_call_count(model) : 0);
  report.runs_ms = measure(options, [&] {
    if (options.detect) {
      detect(loaded, image, options.threshold);
    } else if (options.profile) {
      loaded.profile(&nanoseconds);
      for (size_t i = 0; i < calls.size(); ++i) calls[i].push_back(double(nanoseconds[i]) / 1e6);
    } else {
      loaded.run();
    }
  });
  for (size_t i = 0; i < calls.size(); ++i) {
    sd_error error;
    CallReport call;
    check(sd_model_call(model, i, &call.info, &error), error);
    call.milliseconds = statistics(std::move(calls[i]));
    report.calls.push_back(call);
  }
  report.before_main_ms = double(start.cpu_ns) / 1e6;
  report.memory = peak_memory_bytes();
  report.loaded = std::move(loaded);
  return report;
}

int run(int argc, char** argv, const Start& start) {
  const Options options = parse_options(argc, argv);
  if (options.help) {
    std::fputs(kHelp, stdout);
  } else if (options.version) {
    std::printf("sanderling-run %s\n", sd_version());
  } else if (options.serve) {
    serve(options.threads);
  } else if (options.info) {
    print_info(options);
  } else {
    print_report(options, run_package(options, start));
  }
  if (std::fflush(stdout) != 0)
    throw Failure(std::string("standard output: ") + std::strerror(errno));
  return 0;
}

}  // namespace
}  // namespace tools

int main(int argc, char** argv) {
  const tools::Start start{tools::now_ns(), tools::process_cpu_ns()};
  try {
    return tools::run(argc, argv, start);
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "sanderling-run: out of memory\n");
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "sanderling-run: %s\n", failure.what());
  }
  return 1;
}
