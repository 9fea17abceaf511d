// What every fallible function of the runtime returns: a cause and one line of text. Never thrown,
// never allocated.
#ifndef SANDERLING_CORE_STATUS_H_
#define SANDERLING_CORE_STATUS_H_

#include <cstdarg>
#include <utility>

#include "sanderling/sanderling.h"

namespace sanderling {

class [[nodiscard]] Status {
 public:
  Status() = default;

  __attribute__((format(printf, 2, 3))) static Status error(sd_status code, const char* format,
                                                            ...);
  static Status error(sd_status code, const char* format, va_list arguments);

  bool ok() const { return code_ == SD_OK; }
  sd_status code() const { return code_; }
  const char* message() const { return ok() ? "" : message_; }

  // The same error, said of `subject`: "subject: message".
  Status about(const char* subject) const;

 private:
  sd_status code_ = SD_OK;
  char message_[sizeof(sd_error::message)];  // set only in errors
};

// The commonest error: a file that breaks the package format.
__attribute__((format(printf, 1, 2))) Status bad(const char* format, ...);

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}  // NOLINT: implicit, so that `return value` works
  Result(Status status) : status_(std::move(status)) {}  // NOLINT: and `return status`

  bool ok() const { return status_.ok(); }
  const Status& status() const { return status_; }
  T& value() { return value_; }
  T* operator->() { return &value_; }

 private:
  Status status_;
  T value_{};
};

#define SD_TRY(expression)                             \
  do {                                                 \
    ::sanderling::Status sd_try_status = (expression); \
    if (!sd_try_status.ok()) return sd_try_status;     \
  } while (false)

}  // namespace sanderling

#endif  // SANDERLING_CORE_STATUS_H_
