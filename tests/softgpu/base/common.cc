#include "tests/softgpu/base/common.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace octet::softgpu {

std::string format(const char* pattern, ...) {
  va_list args, again;
  va_start(args, pattern);
  va_copy(again, args);
  std::string text(std::size_t(std::vsnprintf(nullptr, 0, pattern, args)), '\0');
  std::vsnprintf(text.data(), text.size() + 1, pattern, again);
  va_end(again);
  va_end(args);
  return text;
}

long environment(const char* name, long fallback) {
  const char* value = std::getenv(name);
  return value && *value ? std::strtol(value, nullptr, 0) : fallback;
}

}  // namespace octet::softgpu
