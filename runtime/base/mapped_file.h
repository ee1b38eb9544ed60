// A file's bytes as read-only memory.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

#include "runtime/base/status.h"

namespace octet {

// Owns a read-only private mapping of a whole regular file; movable, the bytes stay where they are. Nothing is read
// before it is touched. A file that another program shortens meanwhile ends the process (SIGBUS) when the lost part is
// touched.
class MappedFile {
 public:
  // kInvalidInput, naming the path, when the file cannot be opened, is not a regular file or cannot be mapped.
  static Result<MappedFile> open(const std::filesystem::path& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  MappedFile(const std::byte* data, size_t size) : data_(data), size_(size) {}
  void unmap();

  const std::byte* data_ = nullptr;  // null for an empty file
  size_t size_ = 0;
};

}  // namespace octet
