#include "runtime/base/kernel_files.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>

namespace octet {
namespace {

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const size_t begin = text.find_first_not_of(kBlank);
  return begin == std::string_view::npos ? "" : text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

}  // namespace

std::vector<std::string> KernelFiles::lines(const std::string& path) const {
  std::ifstream file(root_ / path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

std::optional<std::string> KernelFiles::line(const std::string& path) const {
  const auto all = lines(path);
  if (all.empty()) return std::nullopt;
  return std::string(trimmed(all.front()));
}

std::optional<int64_t> KernelFiles::number(const std::string& path) const {
  const std::string text = line(path).value_or("");
  int64_t value = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc()) return std::nullopt;
  return value;
}

std::optional<std::string> KernelFiles::field(const std::string& path, std::string_view name) const {
  for (const std::string& line : lines(path)) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos || trimmed(std::string_view(line).substr(0, colon)) != name) continue;
    return std::string(trimmed(std::string_view(line).substr(colon + 1)));
  }
  return std::nullopt;
}

std::optional<int64_t> KernelFiles::field_bytes(const std::string& path, std::string_view name) const {
  std::istringstream value(field(path, name).value_or(""));
  int64_t kilobytes = 0;
  if (!(value >> kilobytes)) return std::nullopt;
  return kilobytes * 1024;
}

std::optional<int64_t> KernelFiles::entry(const std::string& path, std::string_view name) const {
  for (const std::string& line : lines(path)) {
    std::istringstream words(line);
    std::string word;
    int64_t value = 0;
    if (words >> word >> value && word == name) return value;
  }
  return std::nullopt;
}

std::vector<std::string> KernelFiles::names(const std::string& folder, std::string_view start) const {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(root_ / folder, error)) {
    if (entry.path().filename().string().starts_with(start)) names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

bool KernelFiles::exists(const std::string& path) const {
  std::error_code error;
  return std::filesystem::exists(root_ / path, error);
}

}  // namespace octet
