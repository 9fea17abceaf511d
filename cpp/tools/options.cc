#include "options.h"

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "handles.h"

namespace tools {

const char kHelp[] = R"(Usage: sanderling-run PACKAGE.sand [options]
       sanderling-run --serve [--threads N]

Runs the best variant of a package that this CPU can run, and prints how long it takes.

Options
  --variant NAME    this variant and no other
  --threads N       threads, the caller included (1)
  --input FILE      one for each input, in order: .npy, raw little-endian values, or with a pipeline an image
                    (.ppm, .jpg). Without any, inputs hold a fixed pseudo-random pattern
  --output PATH     write the outputs of the first run, raw: to this file if there is one output, else to the
                    folder, as output0.bin, output1.bin, …
  --runs N          timed runs (10); 0: only the first one
  --duration S      timed runs for so many seconds instead
  --warmup N        untimed runs between the first and the timed ones (2)
  --profile         time of every call: least and median over the timed runs
  --detect IMAGE    boxes in an image (.ppm, .jpg); times are those of the whole pass
  --threshold T     least score of a box (the package's)
  --info            say what is in the package; runs nothing
  --json            one JSON object instead of text
  --serve           obey commands on standard input (docs/serve-protocol.md)
  --version, --help

Times count from the beginning of main(); "before main" is the CPU time that the process had used by then.

Examples
  sanderling-run mobilenet_v2.sand --threads 2 --duration 5
  sanderling-run model.sand --input x.npy --output y.bin --runs 0
  sanderling-run birds.sand --detect shore.jpg --json
  sanderling-run model.sand --profile
)";

namespace {

double number(const std::string& flag, const std::string& text, double least, double most) {
  char* end = nullptr;
  errno = 0;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || errno != 0 || !(value >= least && value <= most)) {
    throw Failure(flag + " wants a number from " + std::to_string(int64_t(least)) + " to " +
                  std::to_string(int64_t(most)) + ", not '" + text + "'");
  }
  return value;
}

int integer(const std::string& flag, const std::string& text, int least, int most) {
  const double value = number(flag, text, least, most);
  if (value != std::floor(value)) throw Failure(flag + " wants a whole number, not '" + text + "'");
  return int(value);
}

struct Flag {
  const char* name;
  bool has_value;
  void (*apply)(Options* options, const std::string& flag, const std::string& value);
};

using Text = const std::string&;

const Flag kFlags[] = {
    {"--variant", true, [](Options* o, Text, Text v) { o->variant = v; }},
    {"--threads", true, [](Options* o, Text f, Text v) { o->threads = integer(f, v, 1, 256); }},
    {"--input", true, [](Options* o, Text, Text v) { o->inputs.push_back(v); }},
    {"--output", true, [](Options* o, Text, Text v) { o->output = v; }},
    {"--runs", true, [](Options* o, Text f, Text v) { o->runs = integer(f, v, 0, 10000000); }},
    {"--duration", true, [](Options* o, Text f, Text v) { o->duration = number(f, v, 0, 86400); }},
    {"--warmup", true, [](Options* o, Text f, Text v) { o->warmup = integer(f, v, 0, 1000000); }},
    {"--threshold", true, [](Options* o, Text f, Text v) { o->threshold = number(f, v, 0, 1); }},
    {"--detect", true, [](Options* o, Text, Text v) { o->detect = v; }},
    {"--profile", false, [](Options* o, Text, Text) { o->profile = true; }},
    {"--json", false, [](Options* o, Text, Text) { o->json = true; }},
    {"--info", false, [](Options* o, Text, Text) { o->info = true; }},
    {"--serve", false, [](Options* o, Text, Text) { o->serve = true; }},
    {"--version", false, [](Options* o, Text, Text) { o->version = true; }},
    {"--help", false, [](Options* o, Text, Text) { o->help = true; }},
};

}  // namespace

Options parse_options(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    std::string name = argv[i];
    if (name.compare(0, 2, "--") != 0) {
      if (!options.package.empty())
        throw Failure("two packages: '" + options.package + "' and '" + name + "'");
      options.package = name;
      continue;
    }
    const size_t equals = name.find('=');
    std::optional<std::string> value;
    if (equals != std::string::npos) {
      value = name.substr(equals + 1);
      name.resize(equals);
    }
    const Flag* found = nullptr;
    for (const Flag& flag : kFlags) {
      if (name == flag.name) found = &flag;
    }
    if (found == nullptr) throw Failure("unknown option '" + name + "' (--help lists them)");
    if (found->has_value && !value) {
      if (i + 1 == argc) throw Failure(name + " wants a value");
      value = argv[++i];
    }
    if (!found->has_value && value) throw Failure(name + " takes no value");
    found->apply(&options, name, value.value_or(""));
  }
  if (options.help || options.version) return options;
  if (options.serve != options.package.empty()) {
    throw Failure(options.serve ? "--serve takes no package"
                                : "which package? (--help shows the usage)");
  }
  if (options.detect && !options.inputs.empty())
    throw Failure("--detect and --input exclude each other");
  if (options.detect && options.profile) throw Failure("--detect and --profile exclude each other");
  return options;
}

}  // namespace tools
