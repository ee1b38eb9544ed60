#include "runtime/checkpoint/safetensors_header.h"

#include <algorithm>
#include <array>

#include "runtime/base/json_text.h"
#include "runtime/base/quote.h"

namespace octet {
namespace {

constexpr size_t kMaxRank = 8;

// The format's types that are none of ours: tensors of them may lie beside the weights.
struct ForeignDtype {
  std::string_view name;
  int64_t bits;
};
constexpr std::array<ForeignDtype, 17> kForeignDtypes = {{{"BOOL", 8},
                                                          {"U8", 8},
                                                          {"F8_E4M3", 8},
                                                          {"F8_E5M2", 8},
                                                          {"F8_E8M0", 8},
                                                          {"F8_E4M3FNUZ", 8},
                                                          {"F8_E5M2FNUZ", 8},
                                                          {"F6_E2M3", 6},
                                                          {"F6_E3M2", 6},
                                                          {"F4", 4},
                                                          {"I16", 16},
                                                          {"U16", 16},
                                                          {"U32", 32},
                                                          {"I64", 64},
                                                          {"U64", 64},
                                                          {"F64", 64},
                                                          {"C64", 64}}};

// False where the format has no type of that name.
bool set_dtype(std::string_view name, StoredTensor& tensor) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16, DType::kI32, DType::kI8}) {
    if (dtype_name(dtype) != name) continue;
    tensor.dtype = dtype;
    tensor.element_bits = 8 * dtype_size(dtype);
    return true;
  }
  const auto* foreign = std::ranges::find(kForeignDtypes, name, &ForeignDtype::name);
  if (foreign == kForeignDtypes.end()) return false;
  tensor.foreign_dtype = foreign->name;
  tensor.element_bits = foreign->bits;
  return true;
}

}  // namespace

Result<std::vector<StoredTensor>> SafetensorsHeaderReader::take(std::string_view header) {
  OCTET_RETURN_IF_ERROR(check_json_bytes(header));
  if (!nlohmann::json::sax_parse(header, this)) return status_;
  return std::move(tensors_);
}

bool SafetensorsHeaderReader::refuse(Status status) {
  status_ = std::move(status);
  return false;
}

bool SafetensorsHeaderReader::refuse_value(std::string_view what) {
  if (place_ == Place::kOutside) return refuse(invalid_input("the header is {}, not a JSON object", what));
  if (place_ == Place::kTop) return refuse(invalid_input("tensor {}: {} instead of an object", quote(field_), what));
  if (place_ == Place::kMetadata) {
    return refuse(invalid_input("__metadata__: {} is {}, not a string", quote(field_), what));
  }
  return refuse(invalid_input("tensor {}: unexpected {} in {}", quote(tensor_.name), what, field_));
}

bool SafetensorsHeaderReader::number_integer(number_integer_t) { return refuse_value("a negative number"); }

bool SafetensorsHeaderReader::number_float(number_float_t, const string_t& text) {
  return refuse_value(fmt::format("a number that is no integer below 2^63 ({})", quote(text)));
}

bool SafetensorsHeaderReader::number_unsigned(number_unsigned_t value) {
  if (place_ != Place::kShape && place_ != Place::kOffsets) return refuse_value("a number");
  if (value > static_cast<uint64_t>(INT64_MAX)) return refuse_value("a number over 2^63");
  std::vector<int64_t>& list = place_ == Place::kShape ? tensor_.shape : offsets_;
  const size_t limit = place_ == Place::kShape ? kMaxRank : 2;
  if (list.size() == limit) {
    return refuse(invalid_input("tensor {}: {} has more than {} numbers", quote(tensor_.name), field_, limit));
  }
  list.push_back(static_cast<int64_t>(value));
  return true;
}

bool SafetensorsHeaderReader::string(string_t& value) {
  if (place_ == Place::kMetadata) return true;
  if (place_ != Place::kTensor || field_ != "dtype") return refuse_value("a string");
  return set_dtype(value, tensor_) ||
         refuse(invalid_input("tensor {} has dtype {}, which the format does not have; weights are BF16, F16 or F32",
                              quote(tensor_.name), quote(value)));
}

bool SafetensorsHeaderReader::start_object(std::size_t) {
  if (place_ == Place::kOutside) {
    place_ = Place::kTop;
    return true;
  }
  if (place_ != Place::kTop) return refuse_value("an object");
  if (field_ == "__metadata__") {
    place_ = Place::kMetadata;
    return true;
  }
  place_ = Place::kTensor;
  tensor_ = StoredTensor();
  tensor_.name = field_;
  offsets_.clear();
  fields_of_tensor_.clear();
  return true;
}

bool SafetensorsHeaderReader::key(string_t& name) {
  field_ = name;
  if (place_ == Place::kTop && !names_.insert(name).second) {
    return refuse(invalid_input("tensor {} is listed twice", quote(name)));
  }
  return place_ != Place::kTensor || enter_field(name);
}

bool SafetensorsHeaderReader::enter_field(const std::string& name) {
  if (name != "dtype" && name != "shape" && name != "data_offsets") {
    return refuse(invalid_input("tensor {}: unknown key {}", quote(tensor_.name), quote(name)));
  }
  return fields_of_tensor_.insert(name).second ||
         refuse(invalid_input("tensor {}: {} is given twice", quote(tensor_.name), name));
}

bool SafetensorsHeaderReader::end_object() {
  if (place_ == Place::kTop) {
    place_ = Place::kOutside;
    return true;
  }
  const bool is_tensor = place_ == Place::kTensor;
  place_ = Place::kTop;
  return !is_tensor || finish_tensor();
}

bool SafetensorsHeaderReader::finish_tensor() {
  for (const char* field : {"dtype", "shape", "data_offsets"}) {
    if (!fields_of_tensor_.contains(field)) {
      return refuse(invalid_input("tensor {}: {} is missing", quote(tensor_.name), field));
    }
  }
  if (offsets_.size() != 2) {
    return refuse(invalid_input("tensor {}: data_offsets must be two numbers", quote(tensor_.name)));
  }
  tensor_.begin = offsets_[0];
  tensor_.end = offsets_[1];
  tensors_.push_back(std::move(tensor_));
  return true;
}

bool SafetensorsHeaderReader::start_array(std::size_t) {
  if (place_ != Place::kTensor || field_ == "dtype") return refuse_value("an array");
  place_ = field_ == "shape" ? Place::kShape : Place::kOffsets;
  return true;
}

bool SafetensorsHeaderReader::end_array() {
  place_ = Place::kTensor;
  return true;
}

bool SafetensorsHeaderReader::parse_error(std::size_t, const std::string&, const nlohmann::json::exception& error) {
  return refuse(invalid_input("the header is {}", describe_json_error(error)));
}

}  // namespace octet
