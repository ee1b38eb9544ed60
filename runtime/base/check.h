// Checks of the program's own invariants. A failed check is a bug of Octet, never of its input (bad input is a Status):
// it prints the condition, the message and the place, and aborts.
#pragma once

#include <fmt/format.h>

#include <string>

namespace octet {

[[noreturn]] void check_failed(const char* condition, const char* file, int line, const std::string& message);

}  // namespace octet

// OCTET_CHECK(condition) or OCTET_CHECK(condition, "format {}", values...).
#define OCTET_CHECK(condition, ...)                                                         \
  do {                                                                                      \
    if (!(condition)) [[unlikely]] {                                                        \
      ::octet::check_failed(#condition, __FILE__, __LINE__, ::fmt::format("" __VA_ARGS__)); \
    }                                                                                       \
  } while (false)
