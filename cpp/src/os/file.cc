#include "os/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace sanderling {

Result<Ref<MappedFile>> MappedFile::open(const char* path) {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    const sd_status code = errno == ENOENT || errno == ENOTDIR ? SD_NOT_FOUND : SD_IO_ERROR;
    return Status::error(code, "cannot be opened: %m");
  }
  Result<Ref<MappedFile>> file = open(fd);
  ::close(fd);
  return file;
}

Result<Ref<MappedFile>> MappedFile::open(int fd) {
  struct stat info;
  if (fstat(fd, &info) != 0) return Status::error(SD_IO_ERROR, "cannot be examined: %m");
  if (!S_ISREG(info.st_mode)) return Status::error(SD_IO_ERROR, "is not a regular file");
  if (info.st_size == 0) return Status::error(SD_BAD_PACKAGE, "is empty");
  Ref<MappedFile> file = Ref<MappedFile>::create();
  if (!file) return out_of_memory(sizeof(MappedFile), "file mapping");
  void* mapping = mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_SHARED, fd, 0);
  if (mapping == MAP_FAILED) {
    return Status::error(errno == ENOMEM ? SD_OUT_OF_MEMORY : SD_IO_ERROR, "cannot be mapped: %m");
  }
  file->bytes_ = {static_cast<const uint8_t*>(mapping), static_cast<uint64_t>(info.st_size)};
  return file;
}

MappedFile::~MappedFile() {
  if (bytes_.data != nullptr) munmap(const_cast<uint8_t*>(bytes_.data), bytes_.size);
}

void MappedFile::discard(Bytes part) const {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(part.data) / page * page;
  const uintptr_t size = reinterpret_cast<uintptr_t>(part.data) - begin + part.size;
  madvise(reinterpret_cast<void*>(begin), size, MADV_DONTNEED);
}

}  // namespace sanderling
