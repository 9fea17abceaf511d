#include "os/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace sanderling {
namespace {

constexpr uint64_t kPage =
    4096;  // the smallest there is; madvise wants multiples of the real one and ignores the rest

void advise(Bytes part, int advice) {
  const auto begin =
      reinterpret_cast<uintptr_t>(part.data) / 65536 * 65536;  // a multiple of every page size
  const auto end = round_up(reinterpret_cast<uintptr_t>(part.data) + part.size, kPage);
  if (part.size > 0) madvise(reinterpret_cast<void*>(begin), end - begin, advice);
}

}  // namespace

Result<Ref<MappedFile>> MappedFile::open(const char* path) {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    const sd_status code = errno == ENOENT || errno == ENOTDIR ? SD_NOT_FOUND : SD_IO_ERROR;
    return Status::error(code, "%s: cannot be opened: %m", path);
  }
  Result<Ref<MappedFile>> file = open(fd);
  ::close(fd);
  return file.ok() ? std::move(file) : Result<Ref<MappedFile>>(file.status().about(path));
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

void MappedFile::prefetch(Bytes part) const { advise(part, MADV_WILLNEED); }

void MappedFile::discard(Bytes part) const { advise(part, MADV_DONTNEED); }

}  // namespace sanderling
