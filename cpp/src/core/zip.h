// The container: ZIP in the strict profile of docs/package-format.md, section 1.
#ifndef SANDERLING_CORE_ZIP_H_
#define SANDERLING_CORE_ZIP_H_

#include "core/bytes.h"
#include "core/memory.h"
#include "core/status.h"

namespace sanderling {

struct ZipEntry {
  const char* name;  // NUL-terminated, owned by the Zip
  uint64_t offset;   // of the data, in the file
  uint64_t size;
  uint32_t crc32;
};

class Zip {
 public:
  // Checks every rule of the profile except CRCs. `file` is not kept.
  static Result<Zip> read(Bytes file);

  const Array<ZipEntry>& entries() const { return entries_; }  // in the order of the directory
  const ZipEntry* find(const char* name) const;                // null if absent

 private:
  Array<ZipEntry> entries_;
  Array<uint32_t> by_name_;
  Array<char> names_;
};

// Whether the entry's bytes in `file` have its CRC-32.
Status check_crc(Bytes file, const ZipEntry& entry);

}  // namespace sanderling

#endif  // SANDERLING_CORE_ZIP_H_
