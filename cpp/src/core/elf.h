// kernels.so without loading it: whether it keeps the promises of docs/package-format.md,
// section 4.
#ifndef SANDERLING_CORE_ELF_H_
#define SANDERLING_CORE_ELF_H_

#include "core/bytes.h"
#include "core/plan_format.h"
#include "core/status.h"

namespace sanderling {

// A shared object for `arch` whose segments lie inside the file, which needs no library and has no
// constructors, destructors or thread-local storage. Says nothing about what its code does.
Status check_elf(Bytes code, Arch arch);

}  // namespace sanderling

#endif  // SANDERLING_CORE_ELF_H_
