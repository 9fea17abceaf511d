// What kernels.so may not be, a row for each way: bytes of the real test kernels, changed.
#include <doctest/doctest.h>
#include <elf.h>

#include "builder.h"
#include "core/elf.h"

using namespace builder;
using namespace sanderling;

namespace {

#if defined(__x86_64__)
constexpr Arch kHere = Arch::kX86_64, kThere = Arch::kAArch64;
#else
constexpr Arch kHere = Arch::kAArch64, kThere = Arch::kX86_64;
#endif

Elf64_Ehdr header_of(const Blob& code) { return load<Elf64_Ehdr>(code.data()); }

// Offset of the first program header of a type.
uint64_t segment(const Blob& code, uint32_t type) {
  const Elf64_Ehdr header = header_of(code);
  for (uint32_t i = 0; i < header.e_phnum; ++i) {
    const uint64_t at = header.e_phoff + i * sizeof(Elf64_Phdr);
    if (load<Elf64_Phdr>(code.data() + at).p_type == type) return at;
  }
  FAIL("the test kernels have no such segment");
  return 0;
}

void change_segment(Blob* code, uint32_t type, void (*change)(Elf64_Phdr* header)) {
  const uint64_t at = segment(*code, type);
  auto header = load<Elf64_Phdr>(code->data() + at);
  change(&header);
  put(code, at, header);
}

void set_dynamic_tag(Blob* code, int64_t tag) {
  put(code, load<Elf64_Phdr>(code->data() + segment(*code, PT_DYNAMIC)).p_offset, tag);
}

struct Case {
  const char* name;
  void (*change)(Blob* code);
  const char* message;
};

const Case kCases[] = {
    {"empty", [](Blob* c) { c->clear(); }, "no ELF file"},
    {"cut off in its header", [](Blob* c) { c->resize(63); }, "no ELF file"},
    {"magic", [](Blob* c) { (*c)[1] = 'e'; }, "no ELF file"},
    {"32 bits", [](Blob* c) { (*c)[EI_CLASS] = ELFCLASS32; }, "64-bit"},
    {"big-endian", [](Blob* c) { (*c)[EI_DATA] = ELFDATA2MSB; }, "64-bit"},
    {"a program", [](Blob* c) { put<uint16_t>(c, offsetof(Elf64_Ehdr, e_type), ET_EXEC); },
     "64-bit"},
    {"an object file", [](Blob* c) { put<uint16_t>(c, offsetof(Elf64_Ehdr, e_type), ET_REL); },
     "64-bit"},
    {"another machine", [](Blob* c) { put<uint16_t>(c, offsetof(Elf64_Ehdr, e_machine), EM_MIPS); },
     "ELF machine 8"},
    {"size of program headers",
     [](Blob* c) { put<uint16_t>(c, offsetof(Elf64_Ehdr, e_phentsize), 32); }, "program headers"},
    {"program headers at 2^64-1",
     [](Blob* c) { put<uint64_t>(c, offsetof(Elf64_Ehdr, e_phoff), UINT64_MAX); },
     "program headers"},
    {"65,535 program headers",
     [](Blob* c) { put<uint16_t>(c, offsetof(Elf64_Ehdr, e_phnum), 65535); }, "program headers"},
    {"no program header", [](Blob* c) { put<uint16_t>(c, offsetof(Elf64_Ehdr, e_phnum), 0); },
     "no dynamic section"},
    {"segment beyond the file",
     [](Blob* c) {
       change_segment(c, PT_LOAD, [](Elf64_Phdr* h) { h->p_offset = UINT64_MAX - 4095; });
     },
     "outside the file"},
    {"segment larger than the file",
     [](Blob* c) { change_segment(c, PT_LOAD, [](Elf64_Phdr* h) { h->p_filesz = UINT64_MAX; }); },
     "outside the file"},
    {"segment larger in the file than in memory",
     [](Blob* c) {
       change_segment(c, PT_LOAD, [](Elf64_Phdr* h) { h->p_memsz = h->p_filesz - 1; });
     },
     "larger in the file"},
    {"segment of 2^63 bytes of memory",
     [](Blob* c) { change_segment(c, PT_LOAD, [](Elf64_Phdr* h) { h->p_memsz = 1ULL << 63; }); },
     "beyond 1 GiB"},
    {"segment at a high address",
     [](Blob* c) { change_segment(c, PT_LOAD, [](Elf64_Phdr* h) { h->p_vaddr = UINT64_MAX; }); },
     "beyond 1 GiB"},
    {"writable code",
     [](Blob* c) {
       change_segment(c, PT_LOAD, [](Elf64_Phdr* h) { h->p_flags = PF_R | PF_W | PF_X; });
     },
     "writable and executable"},
    {"executable stack",
     [](Blob* c) { change_segment(c, PT_GNU_STACK, [](Elf64_Phdr* h) { h->p_flags |= PF_X; }); },
     "executable stack"},
    {"thread-local storage",
     [](Blob* c) { change_segment(c, PT_GNU_STACK, [](Elf64_Phdr* h) { h->p_type = PT_TLS; }); },
     "thread-local"},
    {"interpreter",
     [](Blob* c) { change_segment(c, PT_GNU_STACK, [](Elf64_Phdr* h) { h->p_type = PT_INTERP; }); },
     "a program"},
    {"needs a library", [](Blob* c) { set_dynamic_tag(c, DT_NEEDED); }, "another library"},
    {"constructor", [](Blob* c) { set_dynamic_tag(c, DT_INIT); }, "DT_INIT"},
    {"constructors", [](Blob* c) { set_dynamic_tag(c, DT_INIT_ARRAY); }, "DT_INIT_ARRAY"},
    {"destructors", [](Blob* c) { set_dynamic_tag(c, DT_FINI_ARRAY); }, "DT_FINI_ARRAY"},
    {"text relocations", [](Blob* c) { set_dynamic_tag(c, DT_TEXTREL); }, "DT_TEXTREL"},
    {"dynamic section without an end",
     [](Blob* c) { change_segment(c, PT_DYNAMIC, [](Elf64_Phdr* h) { h->p_filesz = 17; }); },
     "has no end"},
};

}  // namespace

TEST_CASE("the compiler's kind of shared object is accepted") {
  const Status status = check_elf(view(kernels()), kHere);
  CHECK_MESSAGE(status.ok(), std::string(status.message()));
  CHECK(check_elf(view(kernels()), kThere).code() == SD_BAD_PACKAGE);
}

TEST_CASE("anything else is refused with its cause") {
  for (const Case& row : kCases) {
    CAPTURE(std::string(row.name));
    Blob code = kernels();
    row.change(&code);
    const Status status = check_elf(view(code), kHere);
    REQUIRE_FALSE(status.ok());
    INFO(std::string(status.message()));
    CHECK(status.code() == SD_BAD_PACKAGE);
    CHECK(std::string(status.message()).find(row.message) != std::string::npos);
  }
}
