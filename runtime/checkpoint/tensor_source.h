// TensorSource: what a checkpoint's weights and configuration are read through, whatever its files are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/weight_format.h"
#include "runtime/base/status.h"
#include "runtime/checkpoint/model_config.h"
#include "runtime/checkpoint/weight_map.h"

namespace octet {

// A tensor as its file describes it.
struct StoredTensor {
  std::string name;
  DType dtype = DType::kF32;
  // Set where the type is one of the format's that no weight may have ("I64", "BOOL", …); `dtype` says nothing then.
  std::string_view foreign_dtype = {};
  int64_t element_bits = 32;
  std::vector<int64_t> shape;  // row-major; empty: a scalar
  int64_t begin = 0;           // bytes from the start of the file
  int64_t end = 0;

  // As the file writes it.
  std::string_view dtype_text() const { return foreign_dtype.empty() ? dtype_name(dtype) : foreign_dtype; }
  // As a weight; none where no weight may have this type.
  std::optional<WeightFormat> weight_format() const;
};

// A tensor, its file, and its first byte in memory, not necessarily aligned to its element. Valid while the source
// lives; null pointers: there is no such tensor.
struct TensorPlace {
  const StoredTensor* tensor = nullptr;
  const std::filesystem::path* file = nullptr;
  const std::byte* data = nullptr;
};

// The files are mapped, not read. Errors are kInvalidInput: one line with the path and the reason.
class TensorSource {
 public:
  virtual ~TensorSource() = default;

  virtual const ModelConfig& config() const = 0;
  // How the tensors are named, and what of them is which matrix.
  virtual const WeightMap& weight_map() const = 0;
  // A line for each thing of the configuration that was left out.
  virtual const std::vector<std::string>& remarks() const = 0;

  // All tensors, file by file, in the order of their data.
  virtual std::span<const TensorPlace> tensors() const = 0;
  virtual TensorPlace find(std::string_view name) const = 0;
  // Whether find(name) gives the one tensor that is meant; the error names the file.
  virtual Status check(std::string_view name) const = 0;
  // Tensors that are announced and that no file has.
  virtual int64_t num_absent() const = 0;
  // Of all files.
  virtual int64_t num_bytes() const = 0;
  // What a message about all of it points at.
  virtual const std::filesystem::path& path() const = 0;
};

// The one place where the kind of files is chosen, by what the folder holds.
Result<std::unique_ptr<TensorSource>> open_tensor_source(const std::filesystem::path& folder);

}  // namespace octet
