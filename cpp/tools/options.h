// The command line of sanderling-run.
#ifndef SANDERLING_TOOLS_OPTIONS_H_
#define SANDERLING_TOOLS_OPTIONS_H_

#include <optional>
#include <string>
#include <vector>

namespace tools {

struct Options {
  std::string package;
  std::optional<std::string> variant, output, detect;
  std::vector<std::string> inputs;
  int threads = 1;
  int runs = 10;
  int warmup = 2;
  double duration = 0;    // seconds; 0: by count
  double threshold = -1;  // the package's
  bool profile = false, json = false, info = false, serve = false, help = false, version = false;
};

Options parse_options(int argc, char** argv);  // throws Failure

extern const char kHelp[];

}  // namespace tools

#endif  // SANDERLING_TOOLS_OPTIONS_H_
