// Reading safetensors files: 8 bytes of header length (little-endian), a JSON header that places every tensor, the
// data. Files are untrusted: everything in the header is checked before anything points into the data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runtime/base/mapped_file.h"
#include "runtime/base/status.h"
#include "runtime/checkpoint/tensor_source.h"

namespace octet {

// The format's own limit.
inline constexpr int64_t kMaxSafetensorsHeader = 100'000'000;

// Parses the header at the start of `bytes` (a file's beginning, or all of it) for a file of `file_size` bytes, and
// checks that the tensors fill the rest of the file without overlap, hole or remainder. In order of their data. Pure.
// Errors (kInvalidInput) give the reason; the caller adds the path.
Result<std::vector<StoredTensor>> parse_safetensors_header(std::span<const std::byte> bytes, int64_t file_size);

// A mapped file and its checked header.
class SafetensorsFile {
 public:
  static Result<SafetensorsFile> open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  // Null when there is none of that name; valid while the file lives, also after a move.
  const StoredTensor* find(std::string_view name) const;
  // First byte of a tensor of this file; not necessarily aligned to its element.
  const std::byte* data(const StoredTensor& tensor) const { return file_.bytes().data() + tensor.begin; }
  int64_t num_bytes() const { return static_cast<int64_t>(file_.bytes().size()); }

 private:
  SafetensorsFile(std::filesystem::path path, MappedFile file, std::vector<StoredTensor> tensors);

  std::filesystem::path path_;
  MappedFile file_;
  std::vector<StoredTensor> tensors_;
  std::unordered_map<std::string_view, size_t> index_by_name_;  // names lie in tensors_
};

}  // namespace octet
