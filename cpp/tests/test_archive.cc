// Rules of the container, a row for each way to break one.
#include <doctest/doctest.h>

#include "builder.h"
#include "core/zip.h"

using namespace builder;
using sanderling::Result;
using sanderling::Zip;

namespace {

Archive good() {
  Archive archive;
  archive.entries.push_back({"a.txt", {1, 2, 3}});
  archive.entries.push_back({"folder/kernels.so", {4, 5, 6, 7}});
  archive.entries.push_back({"empty", {}});
  return archive;
}

struct Case {
  const char* name;
  void (*change)(Archive* archive);
  const char* message;
};

// Offsets in a local header (from its first byte), a central header and the end record.
const Case kCases[] = {
    {"archive comment",
     [](Archive* a) {
       a->tail = "xy";
       a->edit_end = [](Blob* b) { put<uint16_t>(b, 20, 2); };
     },
     "does not end with a ZIP end record"},
    {"comment length without comment",
     [](Archive* a) { a->edit_end = [](Blob* b) { put<uint16_t>(b, 20, 2); }; },
     "archive comments"},
    {"trailing byte", [](Archive* a) { a->tail = "x"; }, "end record"},
    {"bad end magic", [](Archive* a) { a->edit_end = [](Blob* b) { put<uint32_t>(b, 0, 0); }; },
     "end record"},
    {"disk number", [](Archive* a) { a->edit_end = [](Blob* b) { put<uint16_t>(b, 4, 1); }; },
     "several disks"},
    {"directory disk", [](Archive* a) { a->edit_end = [](Blob* b) { put<uint16_t>(b, 6, 1); }; },
     "several disks"},
    {"two counts", [](Archive* a) { a->edit_end = [](Blob* b) { put<uint16_t>(b, 8, 2); }; },
     "counts differ"},
    {"one entry more than there are",
     [](Archive* a) {
       a->edit_end = [](Blob* b) {
         put<uint16_t>(b, 8, 4);
         put<uint16_t>(b, 10, 4);
       };
     },
     "no header for entry 3"},
    {"one entry fewer",
     [](Archive* a) {
       a->edit_end = [](Blob* b) {
         put<uint16_t>(b, 8, 2);
         put<uint16_t>(b, 10, 2);
       };
     },
     "after its last entry"},
    {"too many entries",
     [](Archive* a) {
       a->edit_end = [](Blob* b) {
         put<uint16_t>(b, 8, 1025);
         put<uint16_t>(b, 10, 1025);
       };
     },
     "at most 1024"},
    {"directory beyond the file",
     [](Archive* a) { a->edit_end = [](Blob* b) { put<uint32_t>(b, 16, 0xFFFFFF00); }; },
     "does not end where the end record begins"},
    {"directory size 2^32-1",
     [](Archive* a) { a->edit_end = [](Blob* b) { put<uint32_t>(b, 12, 0xFFFFFFFF); }; },
     "does not end where the end record begins"},
    {"ZIP64 marks",
     [](Archive* a) {
       a->edit_end = [](Blob* b) {
         put<uint32_t>(b, 12, 0xFFFFFFFF);
         put<uint32_t>(b, 16, 0xFFFFFFFF);
       };
     },
     "does not end where the end record begins"},
    {"directory does not reach the end record",
     [](Archive* a) {
       a->edit_end = [](Blob* b) {
         put<uint32_t>(b, 12, sanderling::load<uint32_t>(b->data() + 12) - 1);
       };
     },
     "does not end where the end record begins"},
    {"compressed", [](Archive* a) { a->entries[0].method = 8; }, "compressed (method 8)"},
    {"encrypted", [](Archive* a) { a->entries[0].flags = 1; }, "flags 0x0001"},
    {"data descriptor", [](Archive* a) { a->entries[0].flags = 8; }, "flags 0x0008"},
    {"UTF-8 flag", [](Archive* a) { a->entries[0].flags = 0x800; }, "flags 0x0800"},
    {"two sizes",
     [](Archive* a) { a->entries[0].edit_central = [](Blob* b) { put<uint32_t>(b, 20, 2); }; },
     "sizes differ"},
    {"entry comment", [](Archive* a) { a->entries[0].comment = 4; }, "comments"},
    {"entry on another disk", [](Archive* a) { a->entries[0].disk = 1; }, "several disks"},
    {"folder (Unix)", [](Archive* a) { a->entries[0].attributes = 0x41ED0000; }, "folder, a link"},
    {"folder (DOS)", [](Archive* a) { a->entries[0].attributes = 0x10; }, "folder, a link"},
    {"symbolic link", [](Archive* a) { a->entries[0].attributes = 0xA1FF0000; }, "folder, a link"},
    {"permissions", [](Archive* a) { a->entries[0].attributes = 0x81A40000; }, "says more"},
    {"internal attributes",
     [](Archive* a) { a->entries[0].edit_central = [](Blob* h) { (*h)[36] = 1; }; }, "says more"},
    {"made by another version or system",
     [](Archive* a) { a->entries[0].edit_central = [](Blob* h) { (*h)[5] = 3; }; }, "says more"},
    {"another version needed",
     [](Archive* a) { a->entries[0].edit_central = [](Blob* h) { (*h)[6] = 45; }; },
     "needs version 45"},
    {"another version needed locally",
     [](Archive* a) { a->entries[0].edit_local = [](Blob* h) { (*h)[4] = 45; }; },
     "local and central header differ"},
    {"a date", [](Archive* a) { a->entries[0].edit_central = [](Blob* h) { (*h)[14] = 0x22; }; },
     "a date other than"},
    {"a time of day",
     [](Archive* a) { a->entries[0].edit_central = [](Blob* h) { (*h)[12] = 1; }; },
     "a date other than"},
    {"another date locally",
     [](Archive* a) { a->entries[0].edit_local = [](Blob* h) { (*h)[12] = 0x22; }; },
     "local and central header differ"},
    {"another extra field",
     [](Archive* a) { a->entries[1].edit_local = [](Blob* h) { (*h)[30 + 17] ^= 1; }; },
     "is not the padding"},
    {"padding that is not zero",
     [](Archive* a) { a->entries[1].edit_local = [](Blob* h) { h->back() = 1; }; },
     "is not the padding"},
    {"padding of another size",
     [](Archive* a) { a->entries[1].edit_local = [](Blob* h) { (*h)[30 + 17 + 2] ^= 1; }; },
     "is not the padding"},
    {"device", [](Archive* a) { a->entries[0].attributes = 0x21B60000; }, "folder, a link"},
    {"empty name", [](Archive* a) { a->entries[0].name = ""; }, "has 0 bytes"},
    {"name of 256 bytes", [](Archive* a) { a->entries[0].name = std::string(256, 'a'); },
     "has 256 bytes"},
    {"absolute name", [](Archive* a) { a->entries[0].name = "/etc"; }, "relative path"},
    {"name that climbs", [](Archive* a) { a->entries[0].name = "../a"; }, "relative path"},
    {"name that climbs inside", [](Archive* a) { a->entries[0].name = "a/../b"; }, "relative path"},
    {"name that climbs at its end", [](Archive* a) { a->entries[0].name = "a/.."; },
     "relative path"},
    {"dot segment", [](Archive* a) { a->entries[0].name = "./a"; }, "relative path"},
    {"empty segment", [](Archive* a) { a->entries[0].name = "a//b"; }, "relative path"},
    {"trailing slash", [](Archive* a) { a->entries[0].name = "a/"; }, "relative path"},
    {"backslash", [](Archive* a) { a->entries[0].name = "a\\b"; }, "not allowed"},
    {"space", [](Archive* a) { a->entries[0].name = "a b"; }, "not allowed"},
    {"NUL in a name", [](Archive* a) { a->entries[0].name = std::string("a\0b", 3); },
     "not allowed"},
    {"UTF-8 in a name", [](Archive* a) { a->entries[0].name = "\u00e9"; }, "not allowed"},
    {"duplicate names", [](Archive* a) { a->entries[0].name = "empty"; }, "occurs twice"},
    {"central name runs past the directory",
     [](Archive* a) { a->entries[2].edit_central = [](Blob* b) { put<uint16_t>(b, 28, 250); }; },
     "cut off"},
    {"central extra runs past the directory",
     [](Archive* a) { a->entries[2].edit_central = [](Blob* b) { put<uint16_t>(b, 30, 0xFFFF); }; },
     "cut off"},
    {"bad central magic",
     [](Archive* a) { a->entries[1].edit_central = [](Blob* b) { put<uint32_t>(b, 0, 0); }; },
     "no header for entry 1"},
    {"local header beyond the file",
     [](Archive* a) {
       a->entries[0].edit_central = [](Blob* b) { put<uint32_t>(b, 42, 0xFFFFFFF0); };
     },
     "local header lies outside"},
    {"local header in the directory",
     [](Archive* a) {
       a->entries[2].edit_central = [](Blob* b) {
         put<uint32_t>(b, 42, sanderling::load<uint32_t>(b->data() + 42) + 30);
       };
     },
     "outside the file"},
    {"bad local magic",
     [](Archive* a) { a->entries[0].edit_local = [](Blob* b) { put<uint32_t>(b, 0, 0); }; },
     "no local header"},
    {"local header has another name",
     [](Archive* a) { a->entries[0].edit_local = [](Blob* b) { (*b)[30] = 'b'; }; },
     "another name"},
    {"local header has a shorter name",
     [](Archive* a) { a->entries[0].edit_local = [](Blob* b) { put<uint16_t>(b, 26, 4); }; },
     "another name"},
    {"local name runs past the data",
     [](Archive* a) { a->entries[0].edit_local = [](Blob* b) { put<uint16_t>(b, 26, 0xFFFF); }; },
     "another name"},
    {"local extra runs past the data",
     [](Archive* a) { a->entries[2].edit_local = [](Blob* b) { put<uint16_t>(b, 28, 0xFFFF); }; },
     "local header lies outside"},
    {"local flags",
     [](Archive* a) { a->entries[0].edit_local = [](Blob* b) { put<uint16_t>(b, 6, 8); }; },
     "local and central header differ"},
    {"local method",
     [](Archive* a) { a->entries[0].edit_local = [](Blob* b) { put<uint16_t>(b, 8, 8); }; },
     "local and central header differ"},
    {"local CRC",
     [](Archive* a) { a->entries[0].edit_local = [](Blob* b) { put<uint32_t>(b, 14, 0); }; },
     "local and central header differ"},
    {"local size",
     [](Archive* a) { a->entries[0].edit_local = [](Blob* b) { put<uint32_t>(b, 22, 2); }; },
     "local and central header differ"},
    {"data run into the directory",
     [](Archive* a) {
       const auto longer = [](int at) {
         return [at](Blob* b) {
           put<uint32_t>(b, at, 1);
           put<uint32_t>(b, at + 4, 1);
         };
       };
       a->entries[2].edit_local = longer(18);
       a->entries[2].edit_central = longer(20);
     },
     "data lie outside"},
    {"sizes of 2^32-1",
     [](Archive* a) {
       const auto huge = [](int at) {
         return [at](Blob* b) {
           put<uint32_t>(b, at, ~0U);
           put<uint32_t>(b, at + 4, ~0U);
         };
       };
       a->entries[0].edit_local = huge(18);
       a->entries[0].edit_central = huge(20);
     },
     "data lie outside"},
    {"entries overlap",
     [](Archive* a) {
       const auto longer = [](int at) {
         return [at](Blob* b) {
           put<uint32_t>(b, at, 9);
           put<uint32_t>(b, at + 4, 9);
         };
       };
       a->entries[0].edit_local = longer(18);
       a->entries[0].edit_central = longer(20);
     },
     "overlap"},
    {"two names for one entry",
     [](Archive* a) {
       a->entries[2] = a->entries[0];
       a->entries[2].edit_central = [](Blob* b) { put<uint32_t>(b, 42, 0); };
     },
     "occurs twice"},
    {"kernels.so not aligned", [](Archive* a) { a->entries[1].alignment = 4096; },
     "multiple of 65536"},
    {"params.bin not aligned",
     [](Archive* a) {
       a->entries[1].name = "params.bin";
       a->entries[1].alignment = 64;
     },
     "multiple of 65536"},
    {"model.onnx not aligned",
     [](Archive* a) {
       a->entries[1].name = "model.onnx";
       a->entries[1].alignment = 64;
     },
     "multiple of 65536"},
    {"plan.bin not aligned",
     [](Archive* a) {
       a->entries[1].name = "v/plan.bin";
       a->entries[1].alignment = 32;
     },
     "multiple of 64"},
};

}  // namespace

TEST_CASE("a good archive is read") {
  const Blob bytes = good().bytes();
  Result<Zip> zip = Zip::read(view(bytes));
  INFO(std::string(zip.status().message()));
  REQUIRE(zip.ok());
  REQUIRE(zip->entries().size() == 3);
  CHECK(std::string(zip->entries()[1].name) == "folder/kernels.so");
  const sanderling::ZipEntry* entry = zip->find("a.txt");
  REQUIRE(entry != nullptr);
  CHECK(entry->size == 3);
  CHECK(bytes[entry->offset + 2] == 3);
  CHECK(zip->find("kernels.so") == nullptr);
  CHECK(zip->find("empty")->size == 0);
  for (const sanderling::ZipEntry& each : zip->entries())
    CHECK(sanderling::check_crc(view(bytes), each).ok());
}

TEST_CASE("an archive without entries is read") { CHECK(Zip::read(view(Archive{}.bytes())).ok()); }

TEST_CASE("a broken archive is refused with its cause") {
  for (const Case& row : kCases) {
    CAPTURE(std::string(row.name));
    Archive archive = good();
    row.change(&archive);
    const Blob bytes = archive.bytes();
    Result<Zip> zip = Zip::read(view(bytes));
    REQUIRE_FALSE(zip.ok());
    INFO(std::string(zip.status().message()));
    CHECK(zip.status().code() == SD_BAD_PACKAGE);
    CHECK(std::string(zip.status().message()).find(row.message) != std::string::npos);
  }
}

TEST_CASE("fewer bytes than an end record has are refused") {
  for (size_t size = 0; size < 22; ++size) CHECK_FALSE(Zip::read(view(Blob(size, 'P'))).ok());
}

TEST_CASE("data that changed do not match their CRC") {
  Blob bytes = good().bytes();
  Result<Zip> zip = Zip::read(view(bytes));
  bytes[zip->entries()[0].offset] ^= 1;
  const sanderling::Status status = sanderling::check_crc(view(bytes), zip->entries()[0]);
  CHECK(status.code() == SD_DIGEST_MISMATCH);
  CHECK(std::string(status.message()).find("a.txt") != std::string::npos);
}
