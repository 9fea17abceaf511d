#include "os/cpu.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace sanderling {
namespace {

#if defined(__x86_64__)
constexpr Arch kArch = Arch::kX86_64;
#elif defined(__aarch64__)
constexpr Arch kArch = Arch::kAArch64;
#else
#error "Sanderling runs on x86-64 and aarch64"
#endif

const char* arch_name(uint32_t arch) {
  return arch == uint32_t(Arch::kX86_64) ? "x86-64" : "aarch64";
}

Cpu here;

// Appends to a text that is cut when it gets too long.
__attribute__((format(printf, 3, 4))) void append(char* text, size_t capacity, const char* format,
                                                  ...) {
  const size_t used = std::strlen(text);
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text + used, capacity - used, format, arguments);
  va_end(arguments);
}

// Copies what stands behind "key :" in the first line that begins with it; leaves `to` alone if
// none does.
void copy_value(const char* text, const char* key, char* to, size_t capacity) {
  const size_t length = std::strlen(key);
  for (const char* line = text; line != nullptr; line = std::strchr(line, '\n')) {
    if (*line == '\n') ++line;
    if (std::strncmp(line, key, length) != 0) continue;
    const char* value = line + length + std::strspn(line + length, " \t");
    if (*value != ':') continue;
    value += 1 + std::strspn(value + 1, " \t");
    const size_t size = std::min(std::strcspn(value, "\n"), capacity - 1);
    std::memcpy(to, value, size);
    to[size] = '\0';
    return;
  }
}

#if defined(__aarch64__)
// Names of the bits of AT_HWCAP and AT_HWCAP2, lowest first: arch/arm64/kernel/cpuinfo.c of Linux.
constexpr const char* kHwcap[] = {
    "fp",      "asimd", "evtstrm", "aes",   "pmull",    "sha1",   "sha2", "crc32",
    "atomics", "fphp",  "asimdhp", "cpuid", "asimdrdm", "jscvt",  "fcma", "lrcpc",
    "dcpop",   "sha3",  "sm3",     "sm4",   "asimddp",  "sha512", "sve",  "asimdfhm",
    "dit",     "uscat", "ilrcpc",  "flagm", "ssbs",     "sb",     "paca", "pacg"};
constexpr const char* kHwcap2[] = {"dcpodp",   "sve2",     "sveaes",  "svepmull", "svebitperm",
                                   "svesha3",  "svesm4",   "flagm2",  "frint",    "svei8mm",
                                   "svef32mm", "svef64mm", "svebf16", "i8mm",     "bf16"};

template <size_t kCount>
void append_names(unsigned long bits, const char* const (&names)[kCount], char* to,
                  size_t capacity) {
  for (size_t bit = 0; bit < kCount; ++bit) {
    if ((bits >> bit & 1) != 0) append(to, capacity, *to == '\0' ? "%s" : " %s", names[bit]);
  }
}
#endif

// Only the first core's paragraph: with many cores the whole file takes the kernel milliseconds to
// write.
void read_cpu() {
  static char text[2 * sizeof(here.features)];
  const int fd = open("/proc/cpuinfo", O_RDONLY | O_CLOEXEC);
  size_t size = 0;
  while (fd >= 0 && size < sizeof(text) - 1) {
    const ssize_t got = read(fd, text + size, sizeof(text) - 1 - size);
    if (got <= 0) break;
    size += size_t(got);
    if (std::strstr(text, "\n\n") != nullptr) break;
  }
  if (fd >= 0) close(fd);
  std::snprintf(here.model, sizeof(here.model), "%s", arch_name(uint32_t(kArch)));
#if defined(__aarch64__)
  // What the kernel gives every process: the same words, but of all cores, and right in emulators.
  append_names(getauxval(AT_HWCAP), kHwcap, here.features, sizeof(here.features));
  append_names(getauxval(AT_HWCAP2), kHwcap2, here.features, sizeof(here.features));
#else
  copy_value(text, "flags", here.features, sizeof(here.features));
#endif
  copy_value(text, "model name", here.model, sizeof(here.model));
}

}  // namespace

const Cpu& this_cpu() {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, read_cpu);
  return here;
}

bool has_feature(const char* features, const char* feature) {
  const size_t length = std::strlen(feature);
  for (const char* word = features; *word != '\0';) {
    word += std::strspn(word, " ");
    const size_t size = std::strcspn(word, " ");
    if (size == length && std::memcmp(word, feature, size) == 0) return true;
    word += size;
  }
  return false;
}

Status check_target(const Plan& plan, const Cpu& cpu) {
  const TargetRecord& target = plan.target();
  const char* name = plan.text(target.name);
  if (target.arch != uint32_t(kArch)) {
    return Status::error(SD_UNSUPPORTED_TARGET, "compiled for %s (%s); this CPU is %s (%s)", name,
                         arch_name(target.arch), arch_name(uint32_t(kArch)), cpu.model);
  }
  char needs[160] = "", lacks[160] = "";
  for (uint32_t i = 0; i < target.feature_count; ++i) {
    const char* feature = plan.text(plan.features()[target.first_feature + i]);
    append(needs, sizeof(needs), " %s", feature);
    if (!has_feature(cpu.features, feature)) append(lacks, sizeof(lacks), " %s", feature);
  }
  if (lacks[0] == '\0') return {};
  if (cpu.features[0] == '\0') {
    return Status::error(SD_UNSUPPORTED_TARGET,
                         "compiled for %s (needs%s); what this CPU (%s) has is unknown: "
                         "/proc/cpuinfo cannot be read",
                         name, needs, cpu.model);
  }
  return Status::error(SD_UNSUPPORTED_TARGET, "compiled for %s (needs%s); this CPU (%s) lacks%s",
                       name, needs, cpu.model, lacks);
}

}  // namespace sanderling
