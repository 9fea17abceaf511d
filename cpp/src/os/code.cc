#include "os/code.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "core/elf.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U  // Linux 6.3: asks for what used to be the default
#endif

namespace sanderling {
namespace {

// A nameless file in memory, or -1.
int memory_file() {
  const int fd = memfd_create("sanderling-kernels", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
  return fd >= 0 || errno != EINVAL
             ? fd
             : memfd_create("sanderling-kernels", MFD_CLOEXEC | MFD_ALLOW_SEALING);
}

// A nameless file in a folder, or -1.
int folder_file(const char* folder) {
  if (folder == nullptr || *folder == '\0') return -1;
  int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0700);
  if (fd >= 0) return fd;
  char path[4096];
  const int length = snprintf(path, sizeof(path), "%s/sanderling-XXXXXX", folder);
  if (length < 0 || size_t(length) >= sizeof(path)) return -1;
  fd = mkostemp(path, O_CLOEXEC);
  if (fd >= 0) unlink(path);
  return fd;
}

bool write_all(int fd, Bytes bytes) {
  while (bytes.size > 0) {
    const ssize_t written = write(fd, bytes.data, bytes.size);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes = {bytes.data + written, bytes.size - uint64_t(written)};
  }
  return true;
}

Status check_copy(int fd, uint64_t size, const Digest& digest, Arch arch) {
  void* copy = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  if (copy == MAP_FAILED)
    return Status::error(SD_IO_ERROR, "the copy of the kernels cannot be mapped: %m");
  const Bytes bytes{static_cast<const uint8_t*>(copy), size};
  const Status status =
      sha256(bytes) == digest
          ? check_elf(bytes, arch)
          : Status::error(SD_DIGEST_MISMATCH, "its SHA-256 is not the one in plan.bin");
  munmap(copy, size);
  return status;
}

// Writes, checks and loads through `fd`. Its number is part of the name that the dynamic linker
// remembers, so it must stay open as long as the object is loaded: another object under the same
// number would be taken for this one.
Status load_through(int fd, Bytes code, const Digest& digest, Arch arch, void** handle) {
  if (!write_all(fd, code))
    return Status::error(SD_IO_ERROR, "no room for a copy of the kernels: %m");
  fcntl(
      fd, F_ADD_SEALS,
      F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);  // refused for files on disk, which are nameless
  SD_TRY(check_copy(fd, code.size, digest, arch));
  char path[64];
  snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
  *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  return *handle != nullptr
             ? Status()
             : Status::error(SD_INTERNAL, "the kernels cannot be loaded: %s", dlerror());
}

}  // namespace

LoadedCode::~LoadedCode() {
  if (handle_ != nullptr) dlclose(handle_);
  if (fd_ >= 0) close(fd_);
}

Result<LoadedCode> LoadedCode::load(Bytes code, const Digest& digest, Arch arch) {
  Status first;  // why the first way failed: later ones only work around it
  for (int way = 0; way < 4; ++way) {
    LoadedCode loaded;
    switch (way) {
      case 0:
        loaded.fd_ = memory_file();
        break;
      case 1:
        loaded.fd_ = folder_file(getenv("XDG_RUNTIME_DIR"));
        break;
      case 2:
        loaded.fd_ = folder_file(getenv("TMPDIR"));
        break;
      case 3:
        loaded.fd_ = folder_file("/tmp");
        break;
    }
    Status status = loaded.fd_ < 0
                        ? Status::error(SD_IO_ERROR, "no file for a copy of the kernels: %m")
                        : load_through(loaded.fd_, code, digest, arch, &loaded.handle_);
    if (status.ok()) return loaded;
    if (status.code() == SD_DIGEST_MISMATCH || status.code() == SD_BAD_PACKAGE) return status;
    if (first.ok()) first = status;
  }
  return first;
}

void* LoadedCode::find(const char* symbol) const { return dlsym(handle_, symbol); }

}  // namespace sanderling
