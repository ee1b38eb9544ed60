// Writing safetensors files of any size without holding them in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/base/tensor.h"

namespace octet {

struct TensorDeclaration {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
};

// The tensors are declared first, then their bytes are appended in that order, in pieces of any size. The file is
// written as "PATH.partial" and takes its name in finish(), so a file under the name is always whole; a writer that is
// destroyed unfinished removes what it wrote. Errors (kFailed) name the path. Not thread-safe.
class SafetensorsWriter {
 public:
  // Names must be different from each other and from "__metadata__".
  static Result<SafetensorsWriter> create(const std::filesystem::path& path,
                                          std::span<const TensorDeclaration> declarations);
  SafetensorsWriter(SafetensorsWriter&&) noexcept = default;
  SafetensorsWriter& operator=(SafetensorsWriter&&) = delete;
  ~SafetensorsWriter();

  // REQUIRES: no more bytes, in all, than the declarations ask for.
  Status append(std::span<const std::byte> bytes);
  // REQUIRES: every declared byte was appended. Call once.
  Status finish();

 private:
  struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  SafetensorsWriter(std::filesystem::path path, std::FILE* file) : path_(std::move(path)), file_(file) {}
  std::filesystem::path partial_path() const;
  Status write(const void* data, size_t size);
  Status write_header(std::string header);

  std::filesystem::path path_;
  std::unique_ptr<std::FILE, CloseFile> file_;  // null once finished or moved from
  int64_t bytes_left_ = 0;
};

struct NamedTensor {
  std::string name;
  TensorView tensor;  // in host memory
};

// A whole file at once.
Status write_safetensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors);

}  // namespace octet
