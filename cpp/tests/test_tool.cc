// sanderling-run as a user and the tuner see it: a real process, real files.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "builder.h"

using namespace builder;

namespace {

// A folder that goes away with the test.
class Folder {
 public:
  Folder() { REQUIRE(mkdtemp(path_) != nullptr); }
  ~Folder() { REQUIRE(std::system(("rm -r " + std::string(path_)).c_str()) == 0); }
  std::string file(const std::string& name) const { return std::string(path_) + "/" + name; }
  std::string write(const std::string& name, const Blob& bytes) const {
    std::ofstream(file(name), std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), long(bytes.size()));
    return file(name);
  }
  std::string write(const std::string& name, const std::string& text) const {
    return write(name, Blob(text.begin(), text.end()));
  }

 private:
  char path_[32] = "/tmp/sanderling-test-XXXXXX";
};

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

struct Ran {
  int status;
  std::string text;  // output and errors
  bool says(const std::string& part) const { return text.find(part) != std::string::npos; }
};

Ran tool(const std::string& arguments) {
  FILE* pipe = popen((std::string(SANDERLING_RUN) + " " + arguments + " 2>&1").c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string text;
  char piece[4096];
  for (size_t got; (got = fread(piece, 1, sizeof(piece), pipe)) > 0;) text.append(piece, got);
  const int status = pclose(pipe);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, text};
}

Ran serve(const Folder& folder, const std::string& input, const std::string& flags = "") {
  return tool("--serve " + flags + " < " + folder.write("commands", input));
}

std::string text_of(const Blob& bytes) { return {bytes.begin(), bytes.end()}; }

// A NumPy file of format 1.0.
Blob npy(const std::string& header, const Blob& data) {
  const std::string padded = header + std::string(117 - header.size(), ' ') + "\n";
  const std::string magic = std::string("\x93NUMPY\x01\0", 8) + char(padded.size()) + '\0' + padded;
  Blob file(magic.begin(), magic.end());
  file.insert(file.end(), data.begin(), data.end());
  return file;
}

}  // namespace

TEST_CASE("a package runs, with text and with JSON") {
  const Folder folder;
  const std::string path = folder.write("m.sand", package(small_plan()).bytes());
  Ran ran = tool(path + " --runs 3 --threads 2 --profile");
  INFO(ran.text);
  CHECK(ran.status == 0);
  CHECK(ran.says("variant test, 2 threads"));
  CHECK(ran.says("first result"));
  CHECK(ran.says("node3 (test)"));
  ran = tool(path + " --json --runs 4 --profile");
  CHECK(ran.status == 0);
  CHECK(ran.says("\"runs\": 4, "));
  CHECK(ran.says("\"p50_ms\": "));
  CHECK(ran.says("\"node\": \"node0\""));
  CHECK(ran.says("\"shape\": [1, 4, 8]"));
  ran = tool(path + " --duration 0.05 --warmup 0");
  CHECK(ran.status == 0);
  CHECK(ran.says("median"));
  ran = tool(path + " --runs 0");
  CHECK(ran.status == 0);
  CHECK_FALSE(ran.says("median"));
}

TEST_CASE("inputs come from raw and NumPy files, outputs go to a file or a folder") {
  const Folder folder;
  const std::string path = folder.write("m.sand", package(small_plan()).bytes());
  const Blob x = floats(std::vector<float>(32, 3));
  const std::string y = text_of(floats(std::vector<float>(32, 15)));
  const std::string raw = folder.write("x.bin", x);
  const std::string array = folder.write(
      "x.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4, 8), }", x));
  for (const std::string& input : {raw, array}) {
    const Ran ran = tool(path + " --runs 0 --input " + input + " --output " + folder.file("y.bin"));
    INFO(ran.text);
    REQUIRE(ran.status == 0);
    CHECK(contents(folder.file("y.bin")) == y);
  }
  REQUIRE(tool(path + " --runs 0 --input=" + raw + " --output " + folder.file("out/")).status == 0);
  CHECK(contents(folder.file("out/output0.bin")) == y);
}

TEST_CASE("inputs that do not fit are refused with their cause") {
  const Folder folder;
  const std::string path = folder.write("m.sand", package(small_plan()).bytes());
  const Blob x = floats(std::vector<float>(32, 3));
  struct Row {
    const char* name;
    Blob file;
    const char* message;
  };
  const Row rows[] = {
      {"short.bin", Blob(127), "has 127 bytes of data; input 'x' has 128"},
      {"long.bin", Blob(129), "has 129 bytes"},
      {"dtype.npy", npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 4, 8), }", x),
       "wants"},
      {"shape.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4, 8), }", x), "wants"},
      {"order.npy", npy("{'descr': '<f4', 'fortran_order': True, 'shape': (1, 4, 8), }", x),
       "wants"},
      {"cut.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4, 8), }", Blob(100)),
       "100 bytes"},
      {"header.npy", Blob{0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, 255, 255, 0, 0},
       "truncated NumPy header"},
      {"tiny.npy", Blob{0x93, 'N', 'U', 'M', 'P', 'Y', 1}, "not a NumPy file"},
  };
  for (const Row& row : rows) {
    const Ran ran = tool(path + " --runs 0 --input " + folder.write(row.name, row.file));
    INFO(ran.text);
    CHECK(ran.status == 1);
    CHECK(ran.says(row.name));
    CHECK(ran.says(row.message));
  }
  CHECK(tool(path + " --input a --input b").says("1 inputs, but --input is given 2 times"));
  CHECK(tool(path + " --input /dev/null/nowhere").says("/dev/null/nowhere: cannot be opened"));
  CHECK(tool(path + " --runs 0 --output /dev/null/nowhere/y").says("cannot be created"));
}

TEST_CASE("wrong command lines are errors that say what is wrong") {
  struct Row {
    const char* arguments;
    const char* message;
  };
  const Row rows[] = {
      {"", "which package?"},
      {"a.sand b.sand", "two packages"},
      {"a.sand --bogus", "unknown option '--bogus'"},
      {"a.sand --runs", "--runs wants a value"},
      {"a.sand --runs x", "--runs wants a number"},
      {"a.sand --runs 1.5", "whole number"},
      {"a.sand --runs -1", "--runs wants a number"},
      {"a.sand --threads 0", "--threads wants a number from 1 to 256"},
      {"a.sand --duration nan", "--duration wants a number"},
      {"a.sand --json=1", "--json takes no value"},
      {"a.sand --serve", "--serve takes no package"},
      {"a.sand --detect x.ppm --profile", "exclude each other"},
      {"/nonexistent.sand", "/nonexistent.sand: cannot be opened"},
  };
  for (const Row& row : rows) {
    const Ran ran = tool(row.arguments);
    INFO(ran.text);
    CHECK(ran.status == 1);
    CHECK(ran.says("sanderling-run: "));
    CHECK(ran.says(row.message));
  }
  CHECK(tool("--help").status == 0);
  CHECK(tool("--help").says("Examples"));
  CHECK(tool("--version").says(sd_version()));
}

TEST_CASE("--info lists and verifies without loading code") {
  const Folder folder;
  Archive archive = package(small_plan());
  Ran ran = tool("--info " + folder.write("m.sand", archive.bytes()));
  CHECK(ran.status == 0);
  CHECK(ran.says("variants/test/kernels.so"));
  CHECK(ran.says("verified"));
  archive.entries[3].data[0] ^= 1;
  ran = tool("--info --json " + folder.write("bad.sand", archive.bytes()));
  CHECK(ran.status == 1);
  CHECK(ran.says("params.bin"));
}

TEST_CASE("boxes are found in a PPM image, and broken images are refused") {
  const Folder folder;
  const std::string path = folder.write("d.sand", package(detector_plan()).bytes());
  const std::string pixels(16 * 16 * 3, char(64));
  const std::string good = folder.write("good.ppm", "P6\n# shore\n16 16\n255\n" + pixels);
  Ran ran = tool(path + " --runs 2 --detect " + good);
  INFO(ran.text);
  CHECK(ran.status == 0);
  CHECK(ran.says("0.731"));
  ran = tool(path + " --runs 2 --json --detect " + good);
  CHECK(ran.says("\"label\": \"dunlin\""));
  CHECK(tool(path + " --runs 0 --threshold 0.9 --detect " + good).says("nothing found"));
  CHECK(tool(path + " --runs 0 --input " + good).status == 0);

  struct Row {
    const char* name;
    std::string file;
    const char* message;
  };
  const Row rows[] = {
      {"empty.ppm", "", "neither a binary PPM"},
      {"text.ppm", "P3\n1 1\n255\n0 0 0\n", "not a binary PPM (P6)"},
      {"header.ppm", "P6\n16", "broken PPM header"},
      {"words.ppm", "P6\nten ten\n255\n", "broken PPM header"},
      {"bomb.ppm", "P6\n99999 99999\n255\n", "99999 x 99999 pixels is not accepted"},
      {"zero.ppm", "P6\n0 16\n255\n", "0 x 16 pixels is not accepted"},
      {"deep.ppm", "P6\n16 16\n65535\n" + pixels + pixels, "65535 levels"},
      {"cut.ppm", "P6\n16 16\n255\n" + pixels.substr(1), "do not fit its size"},
      {"long.ppm", "P6\n16 16\n255\n" + pixels + "x", "do not fit its size"},
      {"cut.jpg", "\xFF\xD8\xFF\xE0", "cut.jpg: "},
      {"png.jpg", "\x89PNG\r\n", "neither a binary PPM"},
  };
  for (const Row& row : rows) {
    const Ran refused = tool(path + " --runs 0 --detect " + folder.write(row.name, row.file));
    INFO(refused.text);
    CHECK(refused.status == 1);
    CHECK(refused.says(row.message));
  }
}

TEST_CASE("boxes are found in a JPEG image, or the tool says what it needs for that") {
  // 16 x 16 pixels, all (64, 64, 64).
  const uint8_t jpeg[] = {
      0xff, 0xd8, 0xff, 0xe0, 0x00, 0x10, 0x4a, 0x46, 0x49, 0x46, 0x00, 0x01, 0x01, 0x00, 0x00,
      0x01, 0x00, 0x01, 0x00, 0x00, 0xff, 0xdb, 0x00, 0x43, 0x00, 0x03, 0x02, 0x02, 0x03, 0x02,
      0x02, 0x03, 0x03, 0x03, 0x03, 0x04, 0x03, 0x03, 0x04, 0x05, 0x08, 0x05, 0x05, 0x04, 0x04,
      0x05, 0x0a, 0x07, 0x07, 0x06, 0x08, 0x0c, 0x0a, 0x0c, 0x0c, 0x0b, 0x0a, 0x0b, 0x0b, 0x0d,
      0x0e, 0x12, 0x10, 0x0d, 0x0e, 0x11, 0x0e, 0x0b, 0x0b, 0x10, 0x16, 0x10, 0x11, 0x13, 0x14,
      0x15, 0x15, 0x15, 0x0c, 0x0f, 0x17, 0x18, 0x16, 0x14, 0x18, 0x12, 0x14, 0x15, 0x14, 0xff,
      0xc0, 0x00, 0x0b, 0x08, 0x00, 0x10, 0x00, 0x10, 0x01, 0x01, 0x11, 0x00, 0xff, 0xc4, 0x00,
      0x15, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
      0x00, 0x00, 0x00, 0x00, 0x08, 0xff, 0xc4, 0x00, 0x14, 0x10, 0x01, 0x00, 0x00, 0x00, 0x00,
      0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0xda, 0x00,
      0x08, 0x01, 0x01, 0x00, 0x00, 0x3f, 0x00, 0x95, 0x00, 0x7f, 0xff, 0xd9};
  const Folder folder;
  const std::string path = folder.write("d.sand", package(detector_plan()).bytes());
  const std::string image = folder.write("shore.jpg", Blob(std::begin(jpeg), std::end(jpeg)));
  const Ran ran = tool(path + " --runs 0 --detect " + image);
  INFO(ran.text);
  if (ran.status == 0) {
    CHECK(ran.says("0.731"));
  } else {
    CHECK(ran.says("apt install libturbojpeg0"));
  }
}

TEST_CASE("the server obeys, and says what it cannot do") {
  const Folder folder;
  const Blob bytes = package(small_plan()).bytes();
  const std::string path = folder.write("m.sand", bytes);
  const Ran ran =
      serve(folder,
            "hello\nload " + path + "\nrun 3\nprofile 2\nunload\nrun 1\nload " + path +
                " avx9\nload\nbogus\n\n" + "put " + std::to_string(bytes.size()) + " mine.sand\n" +
                text_of(bytes) + "load mine.sand test\n" +
                "run 0\nrun x\nrun 999999999\nput 3 ../evil\nabcrun 2\nput x y\nquit\nrun 1\n",
            "--threads 2");
  INFO(ran.text);
  CHECK(ran.status == 0);
  std::vector<std::string> lines;
  for (size_t at = 0; at < ran.text.size();) {
    const size_t end = std::min(ran.text.find('\n', at), ran.text.size());
    lines.push_back(ran.text.substr(at, end - at));
    at = end + 1;
  }
  const char* const expected[] = {
      "ok sanderling-serve 1 ",
      "ok test 4 256",
      "ok 3 ",
      "ok 2 ",  // and four lines of times
      "",
      "",
      "",
      "",
      "ok",
      "error no package is loaded",
      "error the package has no variant 'avx9'",
      "error load: wrong number of arguments",
      "error unknown command 'bogus'",
      "error an empty line",
      "ok",
      "ok test 4 256",
      "error the number of runs must be 1 to 100000",
      "error the number of runs must be a whole number",
      "error the number of runs must be 1 to 100000",
      "error a name has up to 255 bytes and no '/'",
      "ok 2 ",
      "error the size must be a whole number",
      "ok",
  };
  REQUIRE(lines.size() == std::size(expected));
  for (size_t i = 0; i < lines.size(); ++i) {
    CAPTURE(i);
    CHECK(lines[i].compare(0, std::strlen(expected[i]), expected[i]) == 0);
  }
  size_t payload = 0;
  for (size_t i = 4; i < 8; ++i) payload += lines[i].size() + 1;
  CHECK(lines[3] == "ok 2 " + std::to_string(payload));
}

TEST_CASE("the server ends when input and output are no longer in step") {
  const Folder folder;
  Ran ran = serve(folder, "put 100 x\nshort");
  CHECK(ran.status == 1);
  CHECK(ran.says("ended inside a package"));
  ran = serve(folder, std::string(9000, 'a'));
  CHECK(ran.status == 1);
  CHECK(ran.says("longer than 8192"));
  CHECK(serve(folder, "").status == 0);
}
