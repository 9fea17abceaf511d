// Files that become inputs: raw values, NumPy arrays, images.
#ifndef SANDERLING_TOOLS_INPUT_FILES_H_
#define SANDERLING_TOOLS_INPUT_FILES_H_

#include <string>
#include <vector>

#include "handles.h"

namespace tools {

struct Image {
  int height = 0, width = 0;
  std::vector<unsigned char> rgb;  // height · width · 3
};

std::vector<unsigned char> read_file(const std::string& path, size_t most);
void write_file(const std::string& path,
                const std::vector<unsigned char>& bytes);  // whole or not at all

bool is_image(const std::string& path);  // by its name

// PPM (P6, 8 bits), and JPEG where libturbojpeg is installed. Sizes are checked before anything is
// decoded.
Image read_image(const std::string& path);

// .npy (format 1 to 3, C order, the tensor's dtype and shape) or raw bytes of the tensor's size.
void read_tensor(const std::string& path, Tensor* tensor);

}  // namespace tools

#endif  // SANDERLING_TOOLS_INPUT_FILES_H_
