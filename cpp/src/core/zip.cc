#include "core/zip.h"

#include <algorithm>

#include "core/crc32.h"

namespace sanderling {
namespace {

constexpr uint64_t kEndSize = 22;
constexpr uint64_t kCentralSize = 46;
constexpr uint64_t kLocalSize = 30;
constexpr uint32_t kEndMagic = 0x06054b50;
constexpr uint32_t kCentralMagic = 0x02014b50;
constexpr uint32_t kLocalMagic = 0x04034b50;
constexpr uint64_t kMaxFileSize = 0xFFFFFFFF;  // exclusive
constexpr uint32_t kMaxEntries = 1024;
constexpr uint32_t kMaxName = 255;
constexpr uint32_t kFileTypeMask = 0xF000;
constexpr uint32_t kRegularFile = 0x8000;
constexpr uint32_t kDosFolderOrVolume = 0x18;
constexpr uint16_t kVersion = 20;        // the first that has folders in names, and what is needed
constexpr uint32_t kDate = 0x00210000;   // 1980-01-01 00:00, the first that ZIP knows
constexpr uint16_t kPaddingId = 0x4e53;  // of the extra field that aligns data

struct Alignment {
  const char* file_name;
  uint64_t bytes;
};

// By the last segment of the entry's name.
constexpr Alignment kAlignments[] = {
    {"kernels.so", 65536}, {"params.bin", 65536}, {"model.onnx", 65536}, {"plan.bin", 64}};

struct Directory {
  uint64_t offset, size;
  uint32_t count;
};

// The part that central and local headers both have, in this order.
struct Common {
  uint16_t version, flags, method;
  uint32_t date, crc32, packed_size, size;
  uint16_t name_size, extra_size;
};

Common read_common(const uint8_t* at) {
  return {load<uint16_t>(at),      load<uint16_t>(at + 2),  load<uint16_t>(at + 4),
          load<uint32_t>(at + 6),  load<uint32_t>(at + 10), load<uint32_t>(at + 14),
          load<uint32_t>(at + 18), load<uint16_t>(at + 22), load<uint16_t>(at + 24)};
}

Result<Directory> read_end(Bytes file) {
  if (file.size < kEndSize) return bad("not a package: %lu bytes are too few", file.size);
  if (file.size >= kMaxFileSize) return bad("a package must be smaller than 4 GiB");
  const uint8_t* end = file.data + (file.size - kEndSize);
  if (load<uint32_t>(end) != kEndMagic) {
    return bad("not a package, or a truncated one: it does not end with a ZIP end record");
  }
  if (load<uint16_t>(end + 20) != 0) return bad("ZIP end record: archive comments are not allowed");
  if (load<uint32_t>(end + 4) != 0)
    return bad("ZIP end record: archives on several disks are not allowed");
  const uint32_t count = load<uint16_t>(end + 10);
  if (count != load<uint16_t>(end + 8)) return bad("ZIP end record: its two entry counts differ");
  if (count > kMaxEntries) return bad("%u entries; at most %u are allowed", count, kMaxEntries);
  const Directory directory{load<uint32_t>(end + 16), load<uint32_t>(end + 12), count};
  if (!fits(directory.offset, directory.size, file.size - kEndSize) ||
      directory.size != file.size - kEndSize - directory.offset) {
    return bad(
        "ZIP central directory (offset %lu, %lu bytes) does not end where the end record begins",
        directory.offset, directory.size);
  }
  return directory;
}

bool is_name_character(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-' || c == '/';
}

// Relative, without empty, "." or ".." segments.
Status check_name(const char* name, uint32_t size) {
  if (size == 0 || size > kMaxName)
    return bad("an entry name has %u bytes; 1 to %u are allowed", size, kMaxName);
  uint32_t segment = 0;
  for (uint32_t i = 0; i <= size; ++i) {
    if (i < size && !is_name_character(name[i])) {
      return bad("entry '%.*s': its name has a character that is not allowed", (int)size, name);
    }
    if (i < size && name[i] != '/') continue;
    const uint32_t length = i - segment;
    const bool dots =
        (length == 1 || length == 2) && std::memcmp(name + segment, "..", length) == 0;
    if (length == 0 || dots) {
      return bad(
          "entry '%.*s': its name must be a relative path without empty, '.' or '..' segments",
          (int)size, name);
    }
    segment = i + 1;
  }
  return {};
}

Status check_common(const Common& header, const char* name) {
  if (header.method != 0)
    return bad("entry '%s' is compressed (method %u); only stored ones are allowed", name,
               header.method);
  if (header.flags != 0)
    return bad("entry '%s' has flags 0x%04x; none are allowed", name, header.flags);
  if (header.packed_size != header.size) return bad("entry '%s': its two sizes differ", name);
  if (header.version != kVersion)
    return bad("entry '%s' needs version %u of ZIP; only %u is allowed", name, header.version,
               kVersion);
  if (header.date != kDate) return bad("entry '%s' has a date other than 1980-01-01", name);
  return {};
}

// Nothing, or one field of zeros: no byte of a package is without meaning.
Status check_extra(const uint8_t* extra, uint32_t size, const char* name) {
  if (size == 0) return {};
  bool fits_padding =
      size >= 4 && load<uint16_t>(extra) == kPaddingId && load<uint16_t>(extra + 2) == size - 4;
  for (uint32_t i = 4; fits_padding && i < size; ++i) fits_padding = extra[i] == 0;
  if (fits_padding) return {};
  return bad("entry '%s': its extra field is not the padding that aligns data", name);
}

uint64_t alignment_of(const char* name) {
  const char* slash = std::strrchr(name, '/');
  const char* file_name = slash == nullptr ? name : slash + 1;
  for (const Alignment& rule : kAlignments) {
    if (std::strcmp(file_name, rule.file_name) == 0) return rule.bytes;
  }
  return 1;
}

// Finds the data behind the local header, which must repeat the central one.
Status locate(Bytes file, uint64_t limit, uint64_t local, const Common& central, ZipEntry* entry) {
  const char* name = entry->name;
  if (!fits(local, kLocalSize, limit))
    return bad("entry '%s': its local header lies outside the file", name);
  const uint8_t* at = file.data + local;
  if (load<uint32_t>(at) != kLocalMagic)
    return bad("entry '%s': no local header where the directory says", name);
  const Common header = read_common(at + 4);
  const uint64_t names = uint64_t{header.name_size} + header.extra_size;
  if (!fits(local + kLocalSize, names, limit))
    return bad("entry '%s': its local header lies outside the file", name);
  if (header.name_size != central.name_size ||
      std::memcmp(at + kLocalSize, name, central.name_size) != 0) {
    return bad("entry '%s': its local header has another name", name);
  }
  if (header.version != central.version || header.flags != central.flags ||
      header.method != central.method || header.date != central.date ||
      header.crc32 != central.crc32 || header.packed_size != central.packed_size ||
      header.size != central.size) {
    return bad("entry '%s': local and central header differ", name);
  }
  SD_TRY(check_extra(at + kLocalSize + header.name_size, header.extra_size, name));
  entry->offset = local + kLocalSize + names;
  if (!fits(entry->offset, entry->size, limit))
    return bad("entry '%s': its data lie outside the file", name);
  if (entry->offset % alignment_of(name) != 0) {
    return bad("entry '%s': its data must begin at a multiple of %lu", name, alignment_of(name));
  }
  return {};
}

struct Extent {
  uint64_t begin, end;
  uint32_t index;
};

}  // namespace

Result<Zip> Zip::read(Bytes file) {
  Result<Directory> end = read_end(file);
  if (!end.ok()) return end.status();
  const Directory directory = end.value();

  Zip zip;
  Result<Array<ZipEntry>> entries = Array<ZipEntry>::allocate(directory.count, "package entries");
  Result<Array<uint32_t>> by_name = Array<uint32_t>::allocate(directory.count, "package entries");
  Result<Array<char>> names = Array<char>::allocate(directory.size, "entry names");
  Result<Array<Extent>> extents = Array<Extent>::allocate(directory.count, "package entries");
  for (const Status* status :
       {&entries.status(), &by_name.status(), &names.status(), &extents.status()}) {
    if (!status->ok()) return *status;
  }
  zip.entries_ = std::move(entries.value());
  zip.by_name_ = std::move(by_name.value());
  zip.names_ = std::move(names.value());

  const uint8_t* at = file.data + directory.offset;
  uint64_t left = directory.size;
  char* name = zip.names_.data();
  for (uint32_t i = 0; i < directory.count; ++i) {
    if (left < kCentralSize || load<uint32_t>(at) != kCentralMagic) {
      return bad("ZIP central directory: no header for entry %u of %u", i, directory.count);
    }
    const Common central = read_common(at + 6);
    const uint64_t comment = load<uint16_t>(at + 32);
    const uint64_t header_size = kCentralSize + central.name_size + central.extra_size + comment;
    if (header_size > left)
      return bad("ZIP central directory: the header of entry %u is cut off", i);
    SD_TRY(check_name(reinterpret_cast<const char*>(at + kCentralSize), central.name_size));

    ZipEntry& entry = zip.entries_[i];
    entry.name = name;  // with its NUL it takes less room than the header that it comes from
    std::memcpy(name, at + kCentralSize, central.name_size);
    name += central.name_size + 1;
    entry.size = central.size;
    entry.crc32 = central.crc32;
    SD_TRY(check_common(central, entry.name));
    if (comment != 0) return bad("entry '%s': comments are not allowed", entry.name);
    if (load<uint16_t>(at + 34) != 0)
      return bad("entry '%s': archives on several disks are not allowed", entry.name);
    const uint32_t attributes = load<uint32_t>(at + 38);
    const uint32_t type = (attributes >> 16) & kFileTypeMask;
    if ((type != 0 && type != kRegularFile) || (attributes & kDosFolderOrVolume) != 0) {
      return bad("entry '%s' is a folder, a link or another special file", entry.name);
    }
    if (attributes != 0 || load<uint16_t>(at + 36) != 0 || central.extra_size != 0 ||
        load<uint16_t>(at + 4) != kVersion) {
      return bad("entry '%s': its central header says more than name, place, size and CRC",
                 entry.name);
    }
    const uint64_t local = load<uint32_t>(at + 42);
    SD_TRY(locate(file, directory.offset, local, central, &entry));
    extents.value()[i] = {local, entry.offset + entry.size, i};
    zip.by_name_[i] = i;
    at += header_size;
    left -= header_size;
  }
  if (left != 0) return bad("ZIP central directory: %lu bytes after its last entry", left);

  std::sort(zip.by_name_.begin(), zip.by_name_.end(), [&](uint32_t a, uint32_t b) {
    return std::strcmp(zip.entries_[a].name, zip.entries_[b].name) < 0;
  });
  std::sort(extents.value().begin(), extents.value().end(),
            [](const Extent& a, const Extent& b) { return a.begin < b.begin; });
  for (uint32_t i = 1; i < directory.count; ++i) {
    const char* here = zip.entries_[zip.by_name_[i]].name;
    if (std::strcmp(here, zip.entries_[zip.by_name_[i - 1]].name) == 0)
      return bad("entry '%s' occurs twice", here);
    const Extent& before = extents.value()[i - 1];
    const Extent& after = extents.value()[i];
    if (after.begin < before.end) {
      return bad("entries '%s' and '%s' overlap", zip.entries_[before.index].name,
                 zip.entries_[after.index].name);
    }
  }
  return zip;
}

const ZipEntry* Zip::find(const char* name) const {
  const uint32_t* found = std::lower_bound(
      by_name_.begin(), by_name_.end(), name,
      [this](uint32_t i, const char* text) { return std::strcmp(entries_[i].name, text) < 0; });
  if (found == by_name_.end() || std::strcmp(entries_[*found].name, name) != 0) return nullptr;
  return &entries_[*found];
}

Status check_crc(Bytes file, const ZipEntry& entry) {
  if (crc32({file.data + entry.offset, entry.size}) == entry.crc32) return {};
  return Status::error(SD_DIGEST_MISMATCH, "entry '%s': its CRC-32 does not match its data",
                       entry.name);
}

}  // namespace sanderling
