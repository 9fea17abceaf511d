#include "seeds.h"

#include <fstream>

void write_seeds(int argc, char** argv, const std::vector<std::vector<uint8_t>>& seeds) {
  for (int i = 1; i < argc; ++i) {
    if (argv[i][0] == '-') continue;
    for (size_t n = 0; n < seeds.size(); ++n) {
      std::ofstream file(std::string(argv[i]) + "/seed" + std::to_string(n), std::ios::binary);
      file.write(reinterpret_cast<const char*>(seeds[n].data()), long(seeds[n].size()));
    }
    return;
  }
}
