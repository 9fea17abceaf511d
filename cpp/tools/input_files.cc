#include "input_files.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace tools {
namespace {

constexpr size_t kMaxImageFile = 256 << 20;
constexpr long kMaxPixels = 100000000;

bool ends_with(const std::string& text, const char* end) {
  const size_t size = std::strlen(end);
  return text.size() >= size && strcasecmp(text.c_str() + text.size() - size, end) == 0;
}

[[noreturn]] void fail(const std::string& path, const std::string& what) {
  throw Failure(path + ": " + what);
}

[[noreturn]] void fail_errno(const std::string& path, const char* what) {
  fail(path, std::string(what) + ": " + std::strerror(errno));
}

void check_size(const std::string& path, long width, long height) {
  if (width < 1 || height < 1 || width > 32768 || height > 32768 || width * height > kMaxPixels) {
    fail(path, "an image of " + std::to_string(width) + " x " + std::to_string(height) +
                   " pixels is not accepted");
  }
}

Image read_ppm(const std::string& path, const std::vector<unsigned char>& file) {
  size_t at = 2;
  const auto number = [&] {
    for (bool comment = false;
         at < file.size() && (comment || std::isspace(file[at]) || file[at] == '#'); ++at) {
      comment = (comment || file[at] == '#') && file[at] != '\n';
    }
    long value = 0;
    const size_t begin = at;
    for (; at < file.size() && std::isdigit(file[at]) && at - begin < 6; ++at)
      value = value * 10 + (file[at] - '0');
    if (at == begin) fail(path, "a broken PPM header");
    return value;
  };
  if (file.size() < 2 || file[0] != 'P' || file[1] != '6') fail(path, "not a binary PPM (P6)");
  const long width = number(), height = number(), most = number();
  check_size(path, width, height);
  if (most != 255) fail(path, "PPM with " + std::to_string(most) + " levels; 255 are accepted");
  const size_t size = size_t(width) * size_t(height) * 3;
  ++at;  // the one white space that ends the header
  if (at > file.size() || file.size() - at != size)
    fail(path, "a PPM whose data do not fit its size");
  return {int(height), int(width), {file.begin() + long(at), file.end()}};
}

// libturbojpeg, if it is there: the tool does not need it otherwise.
struct TurboJpeg {
  void* (*init)();
  int (*header)(void*, const unsigned char*, unsigned long, int*, int*, int*, int*);
  int (*decompress)(void*, const unsigned char*, unsigned long, unsigned char*, int, int, int, int,
                    int);
  char* (*error)(void*);
  int (*destroy)(void*);
};

TurboJpeg load_turbojpeg(const std::string& path) {
  void* library = dlopen("libturbojpeg.so.0", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    fail(path,
         "JPEG needs libturbojpeg.so.0, which is not installed (Debian: apt install "
         "libturbojpeg0); PPM needs nothing");
  }
  TurboJpeg api{};
  const auto bind = [&](auto* function, const char* name) {
    *function = reinterpret_cast<std::remove_pointer_t<decltype(function)>>(dlsym(library, name));
    if (*function == nullptr) fail(path, std::string("libturbojpeg.so.0 has no ") + name);
  };
  bind(&api.init, "tjInitDecompress");
  bind(&api.header, "tjDecompressHeader3");
  bind(&api.decompress, "tjDecompress2");
  bind(&api.error, "tjGetErrorStr2");
  bind(&api.destroy, "tjDestroy");
  return api;
}

Image read_jpeg(const std::string& path, const std::vector<unsigned char>& file) {
  const TurboJpeg api = load_turbojpeg(path);
  const std::unique_ptr<void, int (*)(void*)> decoder(api.init(), api.destroy);
  if (decoder == nullptr) fail(path, "no memory for a JPEG decoder");
  int width = 0, height = 0, subsampling = 0, colours = 0;
  if (api.header(decoder.get(), file.data(), file.size(), &width, &height, &subsampling,
                 &colours) != 0) {
    fail(path, api.error(decoder.get()));
  }
  check_size(path, width, height);
  Image image{height, width, std::vector<unsigned char>(size_t(width) * size_t(height) * 3)};
  constexpr int kRgb = 0;  // TJPF_RGB
  if (api.decompress(decoder.get(), file.data(), file.size(), image.rgb.data(), width, 0, height,
                     kRgb, 0) != 0) {
    fail(path, api.error(decoder.get()));
  }
  return image;
}

const char* numpy_dtype(sd_dtype dtype) {
  switch (dtype) {
    case SD_FLOAT32:
      return "<f4";
    case SD_FLOAT16:
      return "<f2";
    case SD_FLOAT64:
      return "<f8";
    case SD_INT8:
      return "|i1";
    case SD_UINT8:
      return "|u1";
    case SD_INT16:
      return "<i2";
    case SD_UINT16:
      return "<u2";
    case SD_INT32:
      return "<i4";
    case SD_UINT32:
      return "<u4";
    case SD_INT64:
      return "<i8";
    case SD_UINT64:
      return "<u8";
    case SD_BOOL:
      return "|b1";
    case SD_BFLOAT16:
      break;
  }
  return "?";
}

std::string without_spaces(std::string text) {
  std::string result;
  for (const char c : text) {
    if (c != ' ' && c != '\n') result += c;
  }
  return result;
}

// The header is a Python dict in a form that NumPy always writes the same way, so comparing text is
// enough.
std::string expected_header(const sd_tensor_info& info) {
  std::string shape = "(";
  for (int i = 0; i < info.rank; ++i)
    shape += std::to_string(info.dims[i]) + (info.rank == 1 || i + 1 < info.rank ? "," : "");
  return std::string("{'descr':'") + numpy_dtype(info.dtype) +
         "','fortran_order':False,'shape':" + shape + "),}";
}

// Where the data of a .npy file begin.
size_t check_npy(const std::string& path, const std::vector<unsigned char>& file,
                 const sd_tensor_info& info) {
  if (file.size() < 12 || file[6] < 1 || file[6] > 3)
    fail(path, "not a NumPy file of format 1 to 3");
  const size_t prefix = file[6] == 1 ? 10 : 12;
  size_t length = file[8] | size_t{file[9]} << 8;
  if (file[6] > 1) length |= size_t{file[10]} << 16 | size_t{file[11]} << 24;
  if (length > file.size() - prefix) fail(path, "a truncated NumPy header");
  const std::string header =
      without_spaces({file.begin() + long(prefix), file.begin() + long(prefix + length)});
  const std::string expected = expected_header(info);
  if (header != expected)
    fail(path, "the array is " + header + "; input '" + info.name + "' wants " + expected);
  return prefix + length;
}

}  // namespace

std::vector<unsigned char> read_file(const std::string& path, size_t most) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail_errno(path, "cannot be opened");
  struct Closer {
    int fd;
    ~Closer() { close(fd); }
  } closer{fd};
  struct stat info;
  if (fstat(fd, &info) != 0) fail_errno(path, "cannot be examined");
  if (!S_ISREG(info.st_mode)) fail(path, "is not a regular file");
  if (uint64_t(info.st_size) > most)
    fail(path, "is larger than " + std::to_string(most) + " bytes");
  std::vector<unsigned char> bytes(static_cast<size_t>(info.st_size));
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t got = read(fd, bytes.data() + done, bytes.size() - done);
    if (got < 0) fail_errno(path, "cannot be read");
    if (got == 0) fail(path, "became shorter while it was read");
    done += size_t(got);
  }
  return bytes;
}

void write_file(const std::string& path, const std::vector<unsigned char>& bytes) {
  std::string temporary = path + ".XXXXXX";
  const int fd = mkostemp(temporary.data(), O_CLOEXEC);
  if (fd < 0) fail_errno(temporary, "cannot be created");
  bool good = true;
  for (size_t done = 0; good && done < bytes.size();) {
    const ssize_t written = write(fd, bytes.data() + done, bytes.size() - done);
    good = written > 0;
    done += good ? size_t(written) : 0;
  }
  good = good && fchmod(fd, 0644) == 0 && fsync(fd) == 0;
  good = close(fd) == 0 && good;
  if (good && rename(temporary.c_str(), path.c_str()) == 0) return;
  const int cause = errno;
  unlink(temporary.c_str());
  errno = cause;
  fail_errno(path, "cannot be written");
}

bool is_image(const std::string& path) {
  return ends_with(path, ".ppm") || ends_with(path, ".jpg") || ends_with(path, ".jpeg");
}

Image read_image(const std::string& path) {
  const std::vector<unsigned char> file = read_file(path, kMaxImageFile);
  if (file.size() > 2 && file[0] == 0xFF && file[1] == 0xD8) return read_jpeg(path, file);
  if (file.size() > 2 && file[0] == 'P') return read_ppm(path, file);
  fail(path, "neither a binary PPM (P6) nor a JPEG");
}

void read_tensor(const std::string& path, Tensor* tensor) {
  constexpr size_t kHeaderRoom = 1 << 20;
  std::vector<unsigned char> file = read_file(path, tensor->info.bytes + kHeaderRoom);
  const bool numpy = file.size() > 6 && std::memcmp(file.data(), "\x93NUMPY", 6) == 0;
  const size_t begin = numpy ? check_npy(path, file, tensor->info) : 0;
  if (file.size() - begin != tensor->info.bytes) {
    fail(path, "has " + std::to_string(file.size() - begin) + " bytes of data; input '" +
                   tensor->info.name + "' has " + std::to_string(tensor->info.bytes));
  }
  std::memcpy(tensor->bytes.data(), file.data() + begin, tensor->info.bytes);
}

}  // namespace tools
