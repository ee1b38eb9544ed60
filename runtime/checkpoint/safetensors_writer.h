// Writing safetensors files of any size without holding them in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/output_file.h"
#include "runtime/base/status.h"
#include "runtime/base/tensor.h"

namespace octet {

struct TensorDeclaration {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
};

// The tensors are declared first, then their bytes are appended in that order, in pieces of any size. A NewFile: what
// is under the name is always whole, and standard output ("-") and pipes are written through. Not thread-safe.
class SafetensorsWriter {
 public:
  // Names must be different from each other and from "__metadata__".
  static Result<SafetensorsWriter> create(const std::filesystem::path& path,
                                          std::span<const TensorDeclaration> declarations);
  // REQUIRES: no more bytes, in all, than the declarations ask for.
  Status append(std::span<const std::byte> bytes);
  // REQUIRES: every declared byte was appended. Call once.
  Status finish();

 private:
  SafetensorsWriter(std::filesystem::path path, NewFile file) : path_(std::move(path)), file_(std::move(file)) {}
  Status write_header(std::string header);

  std::filesystem::path path_;
  NewFile file_;
  int64_t bytes_left_ = 0;
};

struct NamedTensor {
  std::string name;
  TensorView tensor;  // in host memory
};

// A whole file at once.
Status write_safetensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors);

}  // namespace octet
