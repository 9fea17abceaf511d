#include "core/elf.h"

#include <elf.h>

namespace sanderling {
namespace {

constexpr uint64_t kMaxImage = 1ULL << 30;  // addresses that a kernels.so may span

struct Forbidden {
  int64_t tag;
  const char* what;
};

constexpr Forbidden kForbidden[] = {
    {DT_NEEDED, "it needs another library"},
    {DT_INIT, "it runs code when it is loaded (DT_INIT)"},
    {DT_FINI, "it runs code when it is unloaded (DT_FINI)"},
    {DT_INIT_ARRAY, "it runs code when it is loaded (DT_INIT_ARRAY)"},
    {DT_FINI_ARRAY, "it runs code when it is unloaded (DT_FINI_ARRAY)"},
    {DT_PREINIT_ARRAY, "it runs code when it is loaded (DT_PREINIT_ARRAY)"},
    {DT_TEXTREL, "its code is changed when it is loaded (DT_TEXTREL)"},
    {DT_AUDIT, "it names an audit library"},
    {DT_AUXILIARY, "it names an auxiliary library"},
    {DT_FILTER, "it names a filter library"},
};

Status check_dynamic(Bytes code, const Elf64_Phdr& segment) {
  for (uint64_t at = 0; fits(at, sizeof(Elf64_Dyn), segment.p_filesz); at += sizeof(Elf64_Dyn)) {
    const auto entry = load<Elf64_Dyn>(code.data + segment.p_offset + at);
    if (entry.d_tag == DT_NULL) return {};
    for (const Forbidden& rule : kForbidden) {
      if (entry.d_tag == rule.tag) return bad("%s", rule.what);
    }
  }
  return bad("its dynamic section has no end");
}

Status check_segment(Bytes code, const Elf64_Phdr& segment) {
  if (!fits(segment.p_offset, segment.p_filesz, code.size))
    return bad("a segment lies outside the file");
  switch (segment.p_type) {
    case PT_LOAD:
      if (segment.p_filesz > segment.p_memsz)
        return bad("a segment is larger in the file than in memory");
      if (!fits(segment.p_vaddr, segment.p_memsz, kMaxImage))
        return bad("a segment lies beyond 1 GiB");
      if ((segment.p_flags & PF_W) != 0 && (segment.p_flags & PF_X) != 0) {
        return bad("a segment is both writable and executable");
      }
      return {};
    case PT_DYNAMIC:
      return check_dynamic(code, segment);
    case PT_TLS:
      return bad("it has thread-local storage");
    case PT_INTERP:
      return bad("it is a program, not a library");
    case PT_GNU_STACK:
      return (segment.p_flags & PF_X) != 0 ? bad("it asks for an executable stack") : Status();
    default:
      return {};
  }
}

}  // namespace

Status check_elf(Bytes code, Arch arch) {
  if (code.size < sizeof(Elf64_Ehdr) || std::memcmp(code.data, ELFMAG, SELFMAG) != 0)
    return bad("it is no ELF file");
  const auto header = load<Elf64_Ehdr>(code.data);
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
      header.e_type != ET_DYN) {
    return bad("it is no 64-bit little-endian shared object");
  }
  const uint16_t machine = arch == Arch::kX86_64 ? EM_X86_64 : EM_AARCH64;
  if (header.e_machine != machine) {
    return Status::error(SD_BAD_PACKAGE, "it is for ELF machine %u, but its plan is for %u",
                         header.e_machine, machine);
  }
  if (header.e_phentsize != sizeof(Elf64_Phdr) ||
      !fits(header.e_phoff, uint64_t{header.e_phnum} * sizeof(Elf64_Phdr), code.size)) {
    return bad("its program headers lie outside the file");
  }
  bool dynamic = false;
  for (uint32_t i = 0; i < header.e_phnum; ++i) {
    const auto segment = load<Elf64_Phdr>(code.data + header.e_phoff + i * sizeof(Elf64_Phdr));
    SD_TRY(check_segment(code, segment));
    dynamic = dynamic || segment.p_type == PT_DYNAMIC;
  }
  return dynamic ? Status() : bad("it has no dynamic section");
}

}  // namespace sanderling
