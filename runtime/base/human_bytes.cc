#include "runtime/base/human_bytes.h"

#include <fmt/format.h>

#include <array>

namespace octet {
namespace {

constexpr std::array<const char*, 5> kUnits{"B", "KB", "MB", "GB", "TB"};

// `scaled` of the unit.
std::string text_of(double scaled, size_t unit, int digits) {
  return fmt::format("{:.{}f} {}", scaled, digits, kUnits[unit]);
}

}  // namespace

std::string human_bytes(double bytes) {
  size_t unit = 0;
  for (; bytes >= 1000 && unit + 1 < kUnits.size(); ++unit) bytes /= 1000;
  return text_of(bytes, unit, unit == 0 || bytes >= 100 ? 0 : 1);
}

std::string megabytes(int64_t bytes) { return text_of(static_cast<double>(bytes) / 1e6, 2, 1); }

}  // namespace octet
