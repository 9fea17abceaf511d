// A whole file, mapped read-only.
#ifndef SANDERLING_OS_FILE_H_
#define SANDERLING_OS_FILE_H_

#include "core/bytes.h"
#include "core/memory.h"
#include "core/status.h"

namespace sanderling {

// Shared by a package and the models loaded from it. If another process shortens the file, touching
// what is gone raises SIGBUS, as with any mapped file: replace packages by renaming, never by
// rewriting in place.
class MappedFile : public Shared {
 public:
  static Result<Ref<MappedFile>> open(const char* path);
  static Result<Ref<MappedFile>> open(int fd);  // stays the caller's

  MappedFile() = default;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  Bytes bytes() const { return bytes_; }

  // Hints about a part of the file, which never fail: it will be read soon / not any more.
  void prefetch(Bytes part) const;
  void discard(Bytes part) const;

 private:
  Bytes bytes_;
};

}  // namespace sanderling

#endif  // SANDERLING_OS_FILE_H_
