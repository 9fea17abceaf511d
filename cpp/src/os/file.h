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
  // Errors do not name the file: the caller knows what to call it.
  static Result<Ref<MappedFile>> open(const char* path);
  static Result<Ref<MappedFile>> open(int fd);  // stays the caller's

  MappedFile() = default;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  Bytes bytes() const { return bytes_; }

  // Says that a part of the file will not be read any more. Its pages no longer count as this
  // process's memory. (Asking for parts early, with WILLNEED or POPULATE, was tried: no gain, warm
  // or cold.)
  void discard(Bytes part) const;

 private:
  Bytes bytes_;
};

}  // namespace sanderling

#endif  // SANDERLING_OS_FILE_H_
