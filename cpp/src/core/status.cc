#include "core/status.h"

#include <cstdio>
#include <cstring>

#include "core/utf8.h"

namespace sanderling {
namespace {

// Names that come from a file may hold anything, and a long message is cut: the text stays one line
// of UTF-8.
void clean(char* text) {
  uint8_t* at = reinterpret_cast<uint8_t*>(text);
  for (uint64_t left = std::strlen(text); left > 0;) {
    uint32_t step = utf8_sequence(at, left);
    if (step == 0 || *at < 0x20 || *at == 0x7f) {
      *at = '?';
      step = 1;
    }
    at += step;
    left -= step;
  }
}

}  // namespace

Status Status::error(sd_status code, const char* format, va_list arguments) {
  Status status;
  status.code_ = code;
  if (vsnprintf(status.message_, sizeof(status.message_), format, arguments) < 0)
    status.message_[0] = '\0';
  clean(status.message_);
  return status;
}

Status Status::error(sd_status code, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const Status status = error(code, format, arguments);
  va_end(arguments);
  return status;
}

Status bad(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const Status status = Status::error(SD_BAD_PACKAGE, format, arguments);
  va_end(arguments);
  return status;
}

Status Status::about(const char* subject) const {
  return ok() ? *this : error(code_, "%s: %s", subject, message_);
}

}  // namespace sanderling
