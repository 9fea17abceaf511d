// Rules of plan.bin, a row for each way to break one. A row changes the parts of a good plan, or
// its finished bytes.
#include <doctest/doctest.h>

#include <ctime>

#include "plan_cases.h"

using namespace builder;
using namespace sanderling;

namespace {

constexpr uint64_t k4GiB = 4ULL << 30;

const PlanCase kCases[] = {
    // Limits of the header.
    {"arena above 4 GiB", [](PlanParts* p) { p->arena_bytes = k4GiB + 64; }, "arena of"},
    {"arena of 2^64-1", [](PlanParts* p) { p->arena_bytes = UINT64_MAX; }, "arena of"},
    {"scratch above 4 GiB", [](PlanParts* p) { p->scratch_bytes = k4GiB + 1; }, "scratch of"},

    // Strings.
    {"string beyond STRINGS", [](PlanParts* p) { p->kernels[0].offset = 100000; },
     "outside STRINGS"},
    {"string offset 2^32-1", [](PlanParts* p) { p->kernels[0].offset = UINT32_MAX; },
     "outside STRINGS"},
    {"string length 2^32-1", [](PlanParts* p) { p->kernels[0].length = UINT32_MAX; },
     "a string of"},
    {"string of 4097 bytes",
     [](PlanParts* p) { p->labels.push_back(p->text(std::string(4097, 'a'))); },
     "a string of 4097"},
    {"string that begins inside another",
     [](PlanParts* p) { ++p->kernels[0].offset, --p->kernels[0].length; }, "one whole string"},
    {"string that ends too early", [](PlanParts* p) { --p->kernels[0].length; },
     "one whole string"},
    {"string over two", [](PlanParts* p) { p->kernels[0].length += 8; }, "one whole string"},
    {"last NUL cut off", [](PlanParts* p) { p->strings.pop_back(); }, "does not end with a NUL"},
    {"not UTF-8", [](PlanParts* p) { p->labels.push_back(p->text("\xFF")); }, "not UTF-8"},
    {"strings missing", [](PlanParts* p) { p->strings.clear(); }, "outside STRINGS"},

    // Target and blobs.
    {"unknown architecture", [](PlanParts* p) { p->target.arch = 3; }, "architecture 3"},
    {"architecture 0", [](PlanParts* p) { p->target.arch = 0; }, "architecture 0"},
    {"features that do not exist", [](PlanParts* p) { p->target.feature_count = 1; },
     "lie outside FEATURES"},
    {"feature sum overflows",
     [](PlanParts* p) { p->target.first_feature = p->target.feature_count = UINT32_MAX; },
     "lie outside FEATURES"},
    {"target reserved", [](PlanParts* p) { p->target.zero = 1; }, "reserved"},
    {"one blob", [](PlanParts* p) { p->blobs.pop_back(); }, "BLOBS: 1 records"},
    {"three blobs", [](PlanParts* p) { p->blobs.push_back(p->blobs[0]); }, "BLOBS: 3 records"},
    {"blobs swapped", [](PlanParts* p) { std::swap(p->blobs[0], p->blobs[1]); },
     "BLOBS: record 0 is of kind 2"},
    {"blob reserved", [](PlanParts* p) { p->blobs[0].zero = 1; }, "reserved"},

    // Tensors.
    {"no tensor", [](PlanParts* p) { p->tensors.clear(); }, "TENSORS: 0 records"},
    {"no input", [](PlanParts* p) { p->tensors[0].role = 2; }, "there is no input"},
    {"no output", [](PlanParts* p) { p->tensors[1].role = 1; }, "there is no output"},
    {"output first", [](PlanParts* p) { std::swap(p->tensors[0], p->tensors[1]); },
     "comes after an output"},
    {"role 0", [](PlanParts* p) { p->tensors[0].role = 0; }, "role 0"},
    {"role 3", [](PlanParts* p) { p->tensors[1].role = 3; }, "role 3"},
    {"dtype 0", [](PlanParts* p) { p->tensors[0].dtype = 0; }, "dtype 0"},
    {"dtype 14", [](PlanParts* p) { p->tensors[0].dtype = 14; }, "dtype 14"},
    {"dtype 2^32-1", [](PlanParts* p) { p->tensors[0].dtype = UINT32_MAX; }, "dtype"},
    {"rank 9", [](PlanParts* p) { p->tensors[0].rank = 9; }, "rank 9"},
    {"rank 2^32-1", [](PlanParts* p) { p->tensors[0].rank = UINT32_MAX; }, "rank"},
    {"dimension 0", [](PlanParts* p) { p->tensors[0].dims[1] = 0; }, "dimension 1 is 0"},
    {"dimension negative", [](PlanParts* p) { p->tensors[0].dims[1] = -4; }, "dimension 1 is -4"},
    {"dimension beyond the rank", [](PlanParts* p) { p->tensors[0].dims[3] = 1; },
     "dimension 3 is 1"},
    {"dimensions multiply to 2^64",
     [](PlanParts* p) { p->tensors[0].dims[0] = p->tensors[0].dims[1] = 1LL << 32; },
     "larger than 4 GiB"},
    {"dimensions multiply to 0 modulo 2^64",
     [](PlanParts* p) {
       for (int i = 0; i < 3; ++i) p->tensors[0].dims[i] = 1LL << 62;
       p->tensors[0].bytes = 0;
     },
     "larger than 4 GiB"},
    {"bytes overflow by the item size",
     [](PlanParts* p) {
       p->tensors[0].dims[0] = 1LL << 61, p->tensors[0].dims[1] = p->tensors[0].dims[2] = 1;
     },
     "larger than 4 GiB"},
    {"tensor above 4 GiB",
     [](PlanParts* p) {
       p->tensors[0].dims[0] = 1LL << 28;
       p->tensors[0].bytes <<= 28;
     },
     "larger than 4 GiB"},
    {"bytes one short", [](PlanParts* p) { --p->tensors[0].bytes; }, "its shape makes 128"},
    {"bytes of another dtype", [](PlanParts* p) { p->tensors[0].dtype = SD_FLOAT64; },
     "its shape makes 256"},
    {"names occur twice", [](PlanParts* p) { p->tensors[1].name = p->tensors[0].name; },
     "occurs twice"},
    {"equal names stored twice", [](PlanParts* p) { p->tensors[1].name = p->text("x"); },
     "occurs twice"},
    {"tensor reserved", [](PlanParts* p) { p->tensors[0].zero = 1; }, "reserved"},
    {"count of a tensor of fixed size", [](PlanParts* p) { p->tensors[1].count = 2; }, "reserved"},
    {"bounded input", [](PlanParts* p) { p->tensors[0].bounded = 1, p->tensors[0].count = 2; },
     "is an input"},
    {"bounded dimension above the rank",
     [](PlanParts* p) { p->tensors[1].bounded = 4, p->tensors[1].count = 2; },
     "dimension 3 cannot be bounded"},
    {"bounded dimension 2^32-1", [](PlanParts* p) { p->tensors[1].bounded = UINT32_MAX; },
     "dimension 4294967294 cannot"},
    {"count in a buffer out of range",
     [](PlanParts* p) { p->tensors[1].bounded = 2, p->tensors[1].count = 3; }, "does not exist"},
    {"count in a buffer that ends too soon",
     [](PlanParts* p) { p->tensors[1].bounded = 2, p->tensors[1].count = 1; },
     "is not kept to the last call"},
    {"count in a buffer too small for it",
     [](PlanParts* p) {
       p->tensors[1].bounded = 2, p->tensors[1].count = 3;
       p->buffers.push_back({256, 4, 3, 3});
       p->arena_bytes = 320;
     },
     "is too small"},
    {"count that nobody writes",
     [](PlanParts* p) {
       p->tensors[1].bounded = 2, p->tensors[1].count = 3;
       p->buffers.push_back({256, 8, 3, 3});
       p->arena_bytes = 320;
     },
     "is written by no call"},

    // Calls.
    {"no call", [](PlanParts* p) { p->calls.clear(); }, "CALLS: 0 records"},
    {"no kernel", [](PlanParts* p) { p->kernels.clear(); }, "KERNELS: 0 records"},
    {"kernel out of range", [](PlanParts* p) { p->calls[0].kernel = 3; }, "call 0: kernel 3"},
    {"kernel 2^32-1", [](PlanParts* p) { p->calls[0].kernel = UINT32_MAX; }, "kernel 4294967295"},
    {"no task", [](PlanParts* p) { p->calls[1].tasks = 0; }, "call 1: 0 tasks"},
    {"2^31 tasks", [](PlanParts* p) { p->calls[1].tasks = 1U << 31; }, "2147483648 tasks"},
    {"grain 0", [](PlanParts* p) { p->calls[1].grain = 0; }, "grain is 0"},
    {"call reserved", [](PlanParts* p) { p->calls[1].zero = 1; }, "reserved"},
    {"25 arguments",
     [](PlanParts* p) {
       p->args.insert(p->args.end(), 30, p->args[0]);
       p->calls[0].arg_count = 25;
     },
     "25 arguments"},
    {"arguments out of range", [](PlanParts* p) { p->calls[3].first_arg = 100; }, "outside ARGS"},
    {"arguments run over the end", [](PlanParts* p) { p->calls[3].arg_count = 3; }, "outside ARGS"},
    {"argument sum overflows", [](PlanParts* p) { p->calls[3].first_arg = UINT32_MAX; },
     "outside ARGS"},

    // Arguments.
    {"place 0", [](PlanParts* p) { p->args[0].place = 0; }, "call 0, argument 0: place 0"},
    {"place 6", [](PlanParts* p) { p->args[0].place = 6; }, "place 6"},
    {"access 0", [](PlanParts* p) { p->args[0].access = 0; }, "access 0"},
    {"access 4", [](PlanParts* p) { p->args[0].access = 4; }, "access 4"},
    {"no byte", [](PlanParts* p) { p->args[0].size = 0; }, "no byte"},
    {"alignment 0", [](PlanParts* p) { p->args[2].alignment = 0; }, "alignment 0"},
    {"alignment 3", [](PlanParts* p) { p->args[2].alignment = 3; }, "alignment 3"},
    {"alignment 128", [](PlanParts* p) { p->args[2].alignment = 128; }, "alignment 128"},
    {"alignment 2^31", [](PlanParts* p) { p->args[2].alignment = 1U << 31; },
     "alignment 2147483648"},
    {"arena argument not aligned",
     [](PlanParts* p) { p->args[2].offset = 4, p->args[2].size = 8, p->args[2].alignment = 8; },
     "no multiple of the alignment 8"},
    {"params argument not aligned",
     [](PlanParts* p) { p->args[1].offset = 4, p->args[1].size = 4, p->args[1].alignment = 64; },
     "no multiple of the alignment 64"},
    {"scratch argument not aligned", [](PlanParts* p) { p->args[7].alignment = 64; },
     "no multiple of the alignment 64"},
    {"buffer out of range", [](PlanParts* p) { p->args[2].index = 3; }, "buffer 3 does not exist"},
    {"buffer 2^32-1", [](PlanParts* p) { p->args[2].index = UINT32_MAX; }, "buffer 4294967295"},
    {"arena argument beyond its buffer", [](PlanParts* p) { p->args[2].size = 132; },
     "outside its buffer"},
    {"arena offset 2^63", [](PlanParts* p) { p->args[2].offset = 1ULL << 63; },
     "outside its buffer"},
    {"arena offset + size overflows",
     [](PlanParts* p) { p->args[2].offset = UINT64_MAX - 3, p->args[2].size = 8; },
     "outside its buffer"},
    {"arena size 2^64-1", [](PlanParts* p) { p->args[2].size = UINT64_MAX; }, "outside its buffer"},
    {"params beyond the file", [](PlanParts* p) { p->args[1].size = 12; }, "outside params.bin"},
    {"params offset 2^32", [](PlanParts* p) { p->args[1].offset = 1ULL << 32; },
     "outside params.bin"},
    {"params index", [](PlanParts* p) { p->args[1].index = 1; }, "index 1"},
    {"params written", [](PlanParts* p) { p->args[1].access = kBoth; }, "parameters are written"},
    {"scratch beyond its slice", [](PlanParts* p) { p->args[7].size = 72; },
     "outside the scratch slice"},
    {"scratch index", [](PlanParts* p) { p->args[7].index = 1; }, "index 1"},
    {"scratch without any", [](PlanParts* p) { p->scratch_bytes = 0; },
     "outside the scratch slice"},
    {"input index is an output", [](PlanParts* p) { p->args[0].index = 1; }, "tensor 1 is no such"},
    {"output index is an input", [](PlanParts* p) { p->args[10].index = 0; },
     "tensor 0 is no such"},
    {"output index out of range", [](PlanParts* p) { p->args[10].index = 2; },
     "tensor 2 is no such"},
    {"input written", [](PlanParts* p) { p->args[0].access = kWrite; }, "an input is written"},
    {"input beyond its tensor", [](PlanParts* p) { p->args[0].offset = 4; }, "outside tensor 'x'"},
    {"output size 2^64-1", [](PlanParts* p) { p->args[10].size = UINT64_MAX; },
     "outside tensor 'y'"},
    {"caller's array aligned to 8", [](PlanParts* p) { p->args[0].alignment = 8; },
     "a caller's array; 4 is allowed"},
    {"alignment above the item size",
     [](PlanParts* p) {
       p->tensors[0].dtype = SD_INT8, p->tensors[0].dims[2] = 32, p->args[0].alignment = 2;
     },
     "a caller's array; 1 is allowed"},

    // Order of reads and writes, and overlap within a call.
    {"output never written", [](PlanParts* p) { p->calls[3].arg_count = 1; },
     "output 'y' is written by no call"},
    {"output read first", [](PlanParts* p) { p->args[10].access = kRead; },
     "tensor 1 is read before"},
    {"buffer read before it is written", [](PlanParts* p) { p->args[3].index = 1; },
     "buffer 1 is read before"},
    {"written range overlaps a read one",
     [](PlanParts* p) { p->args[3] = arena(0, kRead, 64), p->args[5] = arena(0, kWrite, 64, 32); },
     "overlaps argument 0"},
    {"two written ranges overlap",
     [](PlanParts* p) { p->args[3] = arena(1, kWrite, 8), p->args[5] = arena(1, kWrite, 128); },
     "overlaps argument 0"},
    {"scratch ranges overlap",
     [](PlanParts* p) { p->args[6] = scratch(64), p->args[7] = scratch(32, 32); },
     "overlaps argument 0"},

    // Buffers.
    {"buffer without a byte", [](PlanParts* p) { p->buffers.push_back({}); },
     "buffer 3 has no byte"},
    {"buffer beyond the arena", [](PlanParts* p) { p->buffers[1].size = 129; },
     "outside the arena"},
    {"buffer offset 2^64-64", [](PlanParts* p) { p->buffers[1].offset = UINT64_MAX - 63; },
     "outside the arena"},
    {"buffer size 2^64-1", [](PlanParts* p) { p->buffers[1].size = UINT64_MAX; },
     "outside the arena"},
    {"arena smaller than its buffers", [](PlanParts* p) { p->arena_bytes = 255; },
     "outside the arena"},
    {"buffer not at a multiple of 64",
     [](PlanParts* p) { p->buffers[1].offset = 96, p->buffers[1].size = 160; }, "multiple of 64"},
    {"buffer ends before it begins", [](PlanParts* p) { p->buffers.push_back({0, 64, 3, 2}); },
     "from call 3 to 2"},
    {"buffer ends after the last call", [](PlanParts* p) { p->buffers.push_back({0, 64, 4, 4}); },
     "from call 4 to 4"},
    {"call outside a buffer's life", [](PlanParts* p) { p->buffers[0].first_call = 1; },
     "buffer 0 is in use from call 1 to 1"},
    {"call after a buffer's life", [](PlanParts* p) { p->buffers[0].last_call = 0; },
     "buffer 0 is in use from call 0 to 0"},
    {"living buffers overlap", [](PlanParts* p) { p->buffers[1].offset = 64; },
     "buffers 0 and 1 overlap in the arena and are both in use at call 1"},
    {"buffers overlap at one call", [](PlanParts* p) { p->buffers[0].last_call = 2; },
     "buffers 0 and 2 overlap"},

    // Levels, labels without a pipeline are merely unused; too many are not.
    {"too many levels", [](PlanParts* p) { p->levels.assign(65, {}); }, "LEVELS: 65 records"},
    {"two pipelines", [](PlanParts* p) { p->pipelines.assign(2, {}); }, "PIPELINE: 2 records"},
};

// Rows that need the finished bytes: header, section table. `sealed` rows get a digest that fits
// again.
struct ByteCase {
  const char* name;
  bool sealed;
  void (*change)(Blob* plan);
  sd_status status;
  const char* message;
};

constexpr uint64_t kTable = sizeof(PlanHeader);
constexpr uint64_t section(int i) { return kTable + uint64_t(i) * sizeof(SectionRecord); }

const ByteCase kByteCases[] = {
    {"magic", true, [](Blob* b) { (*b)[0] = 'X'; }, SD_BAD_PACKAGE, "SNDPLAN"},
    {"version 2", true, [](Blob* b) { put<uint32_t>(b, 8, 2); }, SD_UNSUPPORTED_VERSION,
     "format version 2"},
    {"header size", true, [](Blob* b) { put<uint32_t>(b, 12, 88); }, SD_BAD_PACKAGE,
     "header size 88"},
    {"size one more", true, [](Blob* b) { put<uint64_t>(b, 16, b->size() + 1); }, SD_BAD_PACKAGE,
     "it says that it has"},
    {"size 2^64-1", true, [](Blob* b) { put<uint64_t>(b, 16, UINT64_MAX); }, SD_BAD_PACKAGE,
     "it says that it has"},
    {"trailing byte", true, [](Blob* b) { b->push_back(0); }, SD_BAD_PACKAGE,
     "it says that it has"},
    {"short by one", true, [](Blob* b) { b->pop_back(); }, SD_BAD_PACKAGE, "it says that it has"},
    {"digest", false, [](Blob* b) { (*b)[50] ^= 1; }, SD_DIGEST_MISMATCH, "SHA-256"},
    {"a flipped bit behind the header", false, [](Blob* b) { b->back() ^= 1; }, SD_DIGEST_MISMATCH,
     "SHA-256"},
    {"kernel ABI 2", true, [](Blob* b) { put<uint32_t>(b, 28, 2); }, SD_UNSUPPORTED_VERSION,
     "ABI version 2"},
    {"reserved header bytes", true, [](Blob* b) { (*b)[95] = 1; }, SD_BAD_PACKAGE,
     "reserved bytes"},
    {"33 sections", true, [](Blob* b) { put<uint32_t>(b, 24, 33); }, SD_BAD_PACKAGE, "33 sections"},
    {"no section", true, [](Blob* b) { put<uint32_t>(b, 24, 0); }, SD_BAD_PACKAGE,
     "TARGET: 0 records"},
    {"section kind 0", true, [](Blob* b) { put<uint32_t>(b, section(0), 0); }, SD_BAD_PACKAGE,
     "kind 0"},
    {"section kind 13", true, [](Blob* b) { put<uint32_t>(b, section(7), 13); }, SD_BAD_PACKAGE,
     "kind 13"},
    {"section twice", true, [](Blob* b) { put<uint32_t>(b, section(1), 1); }, SD_BAD_PACKAGE,
     "do not ascend"},
    {"sections descend", true,
     [](Blob* b) {
       put(b, section(0), SectionRecord{3, 8, load<uint64_t>(b->data() + section(0) + 8), 1});
     },
     SD_BAD_PACKAGE, "do not ascend"},
    {"record size", true, [](Blob* b) { put<uint32_t>(b, section(1) + 4, 25); }, SD_BAD_PACKAGE,
     "record size 25"},
    {"record size 0", true, [](Blob* b) { put<uint32_t>(b, section(1) + 4, 0); }, SD_BAD_PACKAGE,
     "record size 0"},
    {"section offset unaligned", true, [](Blob* b) { put<uint64_t>(b, section(0) + 8, 4); },
     SD_BAD_PACKAGE, "no multiple of 8"},
    {"section in the header", true, [](Blob* b) { put<uint64_t>(b, section(0) + 8, 0); },
     SD_BAD_PACKAGE, "lie outside the file"},
    {"section in the table", true, [](Blob* b) { put<uint64_t>(b, section(0) + 8, kTable); },
     SD_BAD_PACKAGE, "lie outside the file"},
    {"section beyond the file", true, [](Blob* b) { put<uint64_t>(b, section(0) + 8, 1 << 20); },
     SD_BAD_PACKAGE, "lie outside the file"},
    {"section offset 2^64-8", true,
     [](Blob* b) { put<uint64_t>(b, section(0) + 8, UINT64_MAX - 7); }, SD_BAD_PACKAGE,
     "lie outside the file"},
    {"section count times size overflows", true,
     [](Blob* b) { put<uint64_t>(b, section(3) + 16, UINT64_MAX / 104 + 1); }, SD_BAD_PACKAGE,
     "TENSORS: "},
    {"65,537 tensors", true, [](Blob* b) { put<uint64_t>(b, section(3) + 16, 65537); },
     SD_BAD_PACKAGE, "65536 are allowed"},
    {"sections overlap", true,
     [](Blob* b) { put<uint64_t>(b, section(2) + 8, load<uint64_t>(b->data() + section(3) + 8)); },
     SD_BAD_PACKAGE, "overlap"},
};

}  // namespace

TEST_CASE("a good plan is read") {
  const Blob bytes = small_plan().bytes();
  Result<Plan> plan = Plan::read(view(bytes));
  INFO(std::string(plan.status().message()));
  REQUIRE(plan.ok());
  CHECK(plan->inputs() == 1);
  CHECK(plan->outputs() == 1);
  CHECK(plan->calls().count == 4);
  CHECK(std::string(plan->text(plan->calls()[2].node)) == "node2");
  CHECK(std::string(plan->text(plan->kernels()[1])) == "reverse");
  CHECK(plan->pipeline() == nullptr);
}

TEST_CASE("a plan with a bounded output is read") { expect_good(bounded_plan()); }

TEST_CASE("a broken plan is refused with its cause") {
  for (const PlanCase& row : kCases) {
    CAPTURE(std::string(row.name));
    PlanParts plan = small_plan();
    row.change(&plan);
    expect(plan.bytes(), SD_BAD_PACKAGE, row.message);
  }
}

TEST_CASE("a broken header or section table is refused with its cause") {
  for (const ByteCase& row : kByteCases) {
    CAPTURE(std::string(row.name));
    Blob plan = small_plan().bytes();
    row.change(&plan);
    if (row.sealed) seal(&plan);
    expect(plan, row.status, row.message);
  }
}

TEST_CASE("a plan cut off anywhere is refused") {
  const Blob plan = detector_plan().bytes();
  for (size_t size = 0; size < plan.size(); ++size) {
    Blob cut(plan.begin(), plan.begin() + long(size));
    CHECK_FALSE(Plan::read(view(cut)).ok());
    if (size < sizeof(PlanHeader)) continue;
    put<uint64_t>(&cut, 16, size);  // and when the header says that it is whole
    seal(&cut);
    const Result<Plan> read = Plan::read(view(cut));
    // Nothing but the padding of the last section may be missing.
    if (read.ok()) CHECK(plan.size() - size < 8);
  }
}

TEST_CASE("a changed byte that the digest covers again never crashes the reader") {
  const Blob plan = detector_plan().bytes();
  for (size_t at = 0; at < plan.size(); ++at) {
    for (const int flip : {1, 0x80, 0xFF}) {
      Blob changed = plan;
      changed[at] ^= uint8_t(flip);
      seal(&changed);
      (void)Plan::read(view(changed));
    }
  }
}

TEST_CASE("what the format allows is accepted") {
  SUBCASE("in place") {
    PlanParts plan = small_plan();
    plan.args[5] = arena(0, kWrite, 128);
    plan.args[6] = arena(0, kRead, 128);
    plan.buffers = {{0, 128, 0, 2}, {128, 128, 0, 0}, {128, 128, 2, 3}};
    expect_good(plan);
  }
  SUBCASE("a buffer that is filled by several calls") {
    PlanParts plan = small_plan();
    plan.args[2] = arena(0, kWrite, 64);
    plan.args[3] = caller(Place::kInput, 0, 64);
    plan.args[5] = arena(0, kWrite, 64, 64);
    plan.args[6] = arena(0, kRead, 128);
    plan.buffers[0].last_call = 2;
    plan.buffers[1].first_call = plan.buffers[1].last_call = 3;
    plan.buffers[2].offset = 128;
    plan.buffers[1].offset = 0;
    expect_good(plan);
  }
  SUBCASE("an output that is read after it is written") {
    PlanParts plan = small_plan();
    plan.args[5] = caller(Place::kOutput, 1, 128);
    plan.args[6] = {uint32_t(Place::kOutput), kRead, 1, 4, 0, 128};
    plan.buffers[1] = {128, 128, 0, 0};
    expect_good(plan);
  }
  SUBCASE("a scalar, labels and levels without a pipeline, no buffer, no argument") {
    PlanParts plan = small_plan();
    plan.tensors.clear();
    plan.tensor("s", Role::kInput, {});
    plan.tensor("y", Role::kOutput, {1, 4, 8});
    plan.labels.push_back(plan.text("\u00e9"));
    plan.levels.push_back({});
    plan.buffers.clear();
    plan.calls.clear();
    plan.args.clear();
    plan.call(0, 1, {caller(Place::kOutput, 1, 128)});
    plan.call(0, 1, {});
    expect_good(plan);
  }
  SUBCASE("a plan of 4 GiB of arena") {
    PlanParts plan = small_plan();
    plan.arena_bytes = 4ULL << 30;
    expect_good(plan);
  }
}

TEST_CASE("the largest plan that the limits allow is refused or read within a second") {
  PlanParts plan = small_plan();
  plan.tensors.resize(1);
  for (int i = 0; i < 65535; ++i) plan.tensor("output " + std::to_string(i), Role::kOutput, {1});
  plan.calls.resize(1);
  plan.args.resize(3);
  plan.buffers.clear();
  for (int i = 0; i < 65535; ++i) {  // each lives from its own call to the last
    std::vector<ArgRecord> args(15, caller(Place::kOutput, uint32_t(1 + i % 65535), 4));
    args.push_back(arena(uint32_t(i), kWrite, 1));
    plan.call(0, 1, args);
    plan.buffers.push_back({uint64_t(i) * 64, 64, uint32_t(i) + 1, 65535});
  }
  plan.args[2] = scratch(4);
  plan.arena_bytes = 65536 * 64;
  const Blob bytes = plan.bytes();
  const std::clock_t begin = std::clock();  // of this process: others may have the CPU meanwhile
  const Result<Plan> read = Plan::read(view(bytes));
  const double seconds = double(std::clock() - begin) / CLOCKS_PER_SEC;
  CHECK_MESSAGE(read.ok(), std::string(read.status().message()));
  MESSAGE(bytes.size(), " bytes in ", seconds, " s");
#if !defined(__SANITIZE_ADDRESS__)
  CHECK(seconds < 1);
#endif
}
