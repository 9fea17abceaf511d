#include <doctest/doctest.h>

#include <cstring>
#include <string>

#include "core/status.h"
#include "core/utf8.h"

using namespace sanderling;

namespace {

bool valid(const std::string& text) {
  return is_utf8(reinterpret_cast<const uint8_t*>(text.data()), text.size());
}

}  // namespace

TEST_CASE("UTF-8 is accepted as RFC 3629 has it") {
  for (const char* text :
       {"", "a", "\u00e9", "\u2013", "\uffff", "\U0001f426", "\xF4\x8F\xBF\xBF", "\xED\x9F\xBF"}) {
    CHECK_MESSAGE(valid(text), std::string(text));
  }
  CHECK(valid(std::string("a\0b", 3)));
}

TEST_CASE("ill-formed UTF-8 is refused") {
  const char* const kBad[] = {
      "\x80",              // no lead byte
      "\xC3",              // cut off
      "\xE2\x80",          // cut off
      "\xF0\x9F\x90",      // cut off
      "\xC0\x80",          // NUL in two bytes
      "\xC1\xBF",          // longer than needed
      "\xE0\x9F\xBF",      // longer than needed
      "\xF0\x8F\xBF\xBF",  // longer than needed
      "\xED\xA0\x80",      // surrogate
      "\xF4\x90\x80\x80",  // above U+10FFFF
      "\xF5\x80\x80\x80",  // above U+10FFFF
      "\xFF",
      "a\xE2\x28\xA1",  // a continuation that is none
  };
  for (const char* text : kBad) CHECK_FALSE(valid(text));
}

TEST_CASE("messages are one line of UTF-8, whatever they are about") {
  const Status control = Status::error(SD_BAD_PACKAGE, "name '%s'", "a\nb\x7f");
  CHECK(std::string(control.message()) == "name 'a?b?'");
  const Status broken = Status::error(SD_BAD_PACKAGE, "name '%s'", "\xC3(\u00e9");
  CHECK(std::string(broken.message()) == "name '?(\u00e9'");
  std::string birds;
  for (int i = 0; i < 300; ++i) birds += "\U0001f426";
  const Status cut = Status::error(SD_BAD_PACKAGE, "%s", birds.c_str());
  CHECK(std::strlen(cut.message()) == sizeof(sd_error::message) - 1);
  CHECK(valid(cut.message()));
}

TEST_CASE("a status names its subject") {
  CHECK(std::string(Status::error(SD_IO_ERROR, "is %d", 3).about("it").message()) == "it: is 3");
  CHECK(Status().about("it").ok());
}
