// Writes JSON, a member at a time.
#ifndef SANDERLING_TOOLS_JSON_H_
#define SANDERLING_TOOLS_JSON_H_

#include <cstdio>
#include <string>

namespace tools {

inline std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof(escape), "\\u%04x", unsigned(c));
      result += escape;
    } else {
      result += c;
    }
  }
  return result + '"';
}

// An object or a list: add members, then take the text.
class Json {
 public:
  explicit Json(char open) : text_(1, open), close_(open == '{' ? '}' : ']') {}

  Json& raw(const char* key, const std::string& value) {
    if (text_.size() > 1) text_ += ", ";
    if (key != nullptr) text_ += quoted(key) + ": ";
    text_ += value;
    return *this;
  }
  Json& add(const char* key, const std::string& value) { return raw(key, quoted(value)); }
  Json& add(const char* key, const char* value) { return raw(key, quoted(value)); }
  template <typename T>
  Json& add(const char* key, T number) {
    char digits[40];
    if constexpr (std::is_floating_point_v<T>) {
      std::snprintf(digits, sizeof(digits), "%.6g", double(number));
    } else {
      std::snprintf(digits, sizeof(digits), "%lld", static_cast<long long>(number));
    }
    return raw(key, digits);
  }
  std::string text() const { return text_ + close_; }

 private:
  std::string text_;
  char close_;
};

}  // namespace tools

#endif  // SANDERLING_TOOLS_JSON_H_
