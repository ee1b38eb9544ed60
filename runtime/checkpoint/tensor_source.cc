#include "runtime/checkpoint/tensor_source.h"

#include "runtime/checkpoint/checkpoint_format.h"
#include "runtime/checkpoint/safetensors_folder.h"

namespace octet {

std::optional<WeightFormat> StoredTensor::weight_format() const {
  const bool is_weight = dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16;
  return foreign_dtype.empty() && is_weight ? std::optional<WeightFormat>(dtype) : std::nullopt;
}

Result<std::unique_ptr<TensorSource>> open_tensor_source(const std::filesystem::path& folder) {
  OCTET_ASSIGN_OR_RETURN(const CheckpointFormat format, detect_format(folder));
  return SafetensorsFolder::open(folder, format);
}

}  // namespace octet
