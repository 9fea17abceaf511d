#include "serve.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <new>
#include <optional>

#include "handles.h"
#include "statistics.h"

namespace tools {
namespace {

constexpr size_t kMaxLine = 8192;
constexpr uint64_t kMaxPackage = 0xFFFFFFFE;
constexpr uint64_t kMaxRuns = 100000;
constexpr uint64_t kMaxSamples = 1 << 24;  // runs · calls of one profile
constexpr double kMaxSeconds = 60;  // of one command's measuring, and of silence inside a transfer

// Ends the server: input and output are no longer in step.
struct Fatal : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Lines and blocks from a file descriptor; what is not asked for stays in the buffer.
class Reader {
 public:
  explicit Reader(int fd) : fd_(fd) {}

  // Nothing at the end of the input.
  std::optional<std::string> line() {
    for (;;) {
      const size_t end = buffer_.find('\n');
      if (end != std::string::npos) {
        std::string text = buffer_.substr(0, end);
        buffer_.erase(0, end + 1);
        return text;
      }
      if (buffer_.size() > kMaxLine) throw Fatal("a line is longer than 8192 bytes");
      if (!fill(-1)) return std::nullopt;
    }
  }

  // The next `size` bytes, in pieces.
  template <typename Take>
  void block(uint64_t size, Take take) {
    while (size > 0) {
      if (buffer_.empty() && !fill(int(kMaxSeconds * 1000)))
        throw Fatal("the input ended inside a package");
      const size_t piece = size_t(std::min<uint64_t>(size, buffer_.size()));
      take(buffer_.data(), piece);
      buffer_.erase(0, piece);
      size -= piece;
    }
  }

 private:
  bool fill(int timeout_ms) {
    pollfd ready{fd_, POLLIN, 0};
    if (timeout_ms >= 0 && poll(&ready, 1, timeout_ms) == 0)
      throw Fatal("no data for a minute inside a package");
    char piece[65536];
    const ssize_t got = read(fd_, piece, sizeof(piece));
    if (got < 0) throw Fatal(std::string("standard input: ") + std::strerror(errno));
    buffer_.append(piece, size_t(got));
    return got > 0;
  }

  int fd_;
  std::string buffer_;
};

// Packages that `put` received, in files without a name: they vanish with the server, however it
// ends.
class Store {
 public:
  Store() = default;
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;
  ~Store() {
    for (const auto& [name, fd] : files_) close(fd);
  }

  // A path that opens the file; empty if there is none of that name.
  std::string find(const std::string& name) const {
    const auto found = files_.find(name);
    return found == files_.end() ? "" : "/proc/self/fd/" + std::to_string(found->second);
  }

  // A new empty file that replaces one of the same name.
  int create(const std::string& name) {
    if (name.find('/') != std::string::npos || name.size() > 255) {
      throw Failure("a name has up to 255 bytes and no '/'");
    }
    remove(name);
    if (files_.size() >= kMaxFiles) throw Failure("no more than 64 packages can be stored");
    int fd = memfd_create("sanderling-package", MFD_CLOEXEC);
    const char* folder = getenv("TMPDIR");
    if (fd < 0)
      fd = ::open(folder != nullptr ? folder : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) throw Failure(std::string("no file for the package: ") + std::strerror(errno));
    files_[name] = fd;
    return fd;
  }

  void remove(const std::string& name) {
    const auto found = files_.find(name);
    if (found == files_.end()) return;
    close(found->second);
    files_.erase(found);
  }

 private:
  static constexpr size_t kMaxFiles = 64;
  std::map<std::string, int> files_;
};

uint64_t parse_count(const std::string& text, uint64_t most, const char* what) {
  if (text.empty() || text.size() > 12 ||
      text.find_first_not_of("0123456789") != std::string::npos) {
    throw Failure(std::string(what) + " must be a whole number");
  }
  const uint64_t value = std::stoull(text);
  if (value < 1 || value > most)
    throw Failure(std::string(what) + " must be 1 to " + std::to_string(most));
  return value;
}

std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> words;
  for (size_t at = line.find_first_not_of(' '); at != std::string::npos;
       at = line.find_first_not_of(' ', at)) {
    const size_t end = std::min(line.find(' ', at), line.size());
    words.push_back(line.substr(at, end - at));
    at = end;
  }
  return words;
}

class Server {
 public:
  explicit Server(int threads) : reader_(STDIN_FILENO) {
    if (threads > 1) pool_ = open<Pool>(sd_pool_create, int32_t(threads));
  }

  void loop() {
    for (;;) {
      std::optional<std::string> line = reader_.line();
      if (!line) return;
      if (!line->empty() && line->back() == '\r') line->pop_back();
      try {
        if (!obey(*line)) return;
      } catch (const Failure& failure) {
        reply(std::string("error ") + failure.what());
      } catch (const std::bad_alloc&) {
        reply("error out of memory");
      }
    }
  }

 private:
  // False after `quit`.
  bool obey(const std::string& line) {
    std::vector<std::string> arguments = split(line);
    if (arguments.empty()) throw Failure("an empty line");
    const std::string command = arguments[0];
    arguments.erase(arguments.begin());
    const auto wants = [&](size_t least, size_t most) {
      if (arguments.size() < least || arguments.size() > most) {
        throw Failure(command + ": wrong number of arguments (docs/serve-protocol.md)");
      }
    };
    if (command == "quit") {
      wants(0, 0);
      reply("ok");
      return false;
    }
    if (command == "hello") {
      wants(0, 0);
      reply(std::string("ok sanderling-serve 1 ") + sd_version() + " " + sd_cpu_features());
    } else if (command == "put") {
      wants(2, 2);
      put(arguments[0], arguments[1]);
    } else if (command == "load") {
      wants(1, 2);
      load_package(arguments[0], arguments.size() > 1 ? arguments[1].c_str() : nullptr);
    } else if (command == "run") {
      wants(1, 1);
      run(parse_count(arguments[0], kMaxRuns, "the number of runs"));
    } else if (command == "profile") {
      wants(1, 1);
      profile(parse_count(arguments[0], kMaxRuns, "the number of runs"));
    } else if (command == "unload") {
      wants(0, 0);
      loaded_.reset();
      reply("ok");
    } else {
      throw Failure("unknown command '" + command + "'");
    }
    return true;
  }

  void put(const std::string& size_text, const std::string& name) {
    const uint64_t size = parse_count(size_text, kMaxPackage, "the size");
    // The bytes that follow are read whatever happens, so that the next line is a command again.
    int fd = -1;
    std::string problem;
    try {
      fd = store_.create(name);
    } catch (const Failure& failure) {
      problem = failure.what();
    }
    reader_.block(size, [&](const char* data, size_t left) {
      while (problem.empty() && left > 0) {
        const ssize_t written = write(fd, data, left);
        if (written <= 0) {
          problem = std::string("the package cannot be stored: ") + std::strerror(errno);
          store_.remove(name);
        } else {
          data += written;
          left -= size_t(written);
        }
      }
    });
    if (!problem.empty()) throw Failure(problem);
    reply("ok");
  }

  void load_package(const std::string& path, const char* variant) {
    const std::string stored = store_.find(path);
    loaded_.reset();
    loaded_ = load(stored.empty() ? path : stored, variant, pool_.get());
    const sd_model* model = loaded_->model.get();
    reply(std::string("ok ") + sd_model_variant(model) + " " +
          std::to_string(sd_model_call_count(model)) + " " +
          std::to_string(sd_model_arena_bytes(model)));
  }

  Loaded& loaded() {
    if (!loaded_) throw Failure("no package is loaded");
    return *loaded_;
  }

  // Calls `once` up to `runs` times, until the time is up; returns how often it did.
  template <typename Once>
  static uint64_t repeat(uint64_t runs, Once once) {
    const uint64_t begin = now_ns();
    uint64_t done = 0;
    while (done < runs && (done == 0 || double(now_ns() - begin) < kMaxSeconds * 1e9)) {
      once();
      ++done;
    }
    return done;
  }

  void run(uint64_t runs) {
    Loaded& model = loaded();
    std::vector<double> nanoseconds;
    const uint64_t done = repeat(runs, [&] {
      const uint64_t before = now_ns();
      model.run();
      nanoseconds.push_back(double(now_ns() - before));
    });
    const Statistics s = statistics(std::move(nanoseconds));
    reply("ok " + std::to_string(done) + " " + std::to_string(uint64_t(s.min)) + " " +
          std::to_string(uint64_t(s.p50)) + " " + std::to_string(uint64_t(s.p90)) + " " +
          std::to_string(uint64_t(s.mean)));
  }

  void profile(uint64_t runs) {
    Loaded& model = loaded();
    const size_t calls = sd_model_call_count(model.model.get());
    if (runs > kMaxSamples / calls)
      throw Failure("runs times calls must be at most " + std::to_string(kMaxSamples));
    std::vector<std::vector<double>> samples(calls);
    std::vector<uint64_t> nanoseconds;
    const uint64_t done = repeat(runs, [&] {
      model.profile(&nanoseconds);
      for (size_t i = 0; i < calls; ++i) samples[i].push_back(double(nanoseconds[i]));
    });
    std::string payload;
    for (std::vector<double>& call : samples) {
      const Statistics s = statistics(std::move(call));
      payload += std::to_string(uint64_t(s.min)) + " " + std::to_string(uint64_t(s.p50)) + "\n";
    }
    reply("ok " + std::to_string(done) + " " + std::to_string(payload.size()), payload);
  }

  static void reply(const std::string& line, const std::string& payload = "") {
    const std::string text = line + "\n" + payload;
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() ||
        std::fflush(stdout) != 0) {
      throw Fatal(std::string("standard output: ") + std::strerror(errno));
    }
  }

  Reader reader_;
  Store store_;
  Pool pool_;
  std::optional<Loaded> loaded_;
};

}  // namespace

void serve(int threads) { Server(threads).loop(); }

}  // namespace tools
