// The JSON header of a safetensors file, as a stream of events: nothing but the tensors themselves is kept in memory.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <unordered_set>
#include <vector>

#include "runtime/checkpoint/safetensors.h"

namespace octet {

// Accepts {"name": {"dtype", "shape", "data_offsets"}, …, "__metadata__": {string: string}} and nothing else; a tensor
// named twice is refused. Offsets are kept as the header has them, relative to the data.
class SafetensorsHeaderReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  // The tensors in the header's order, or why it was refused.
  Result<std::vector<StoredTensor>> take(std::string_view header);

  bool null() override { return refuse_value("null"); }
  bool boolean(bool) override { return refuse_value("a boolean"); }
  bool number_integer(number_integer_t value) override;
  bool number_unsigned(number_unsigned_t value) override;
  bool number_float(number_float_t, const string_t& text) override;
  bool string(string_t& value) override;
  bool binary(binary_t&) override { return refuse_value("binary data"); }
  bool start_object(std::size_t) override;
  bool key(string_t& name) override;
  bool end_object() override;
  bool start_array(std::size_t) override;
  bool end_array() override;
  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception& error) override;

 private:
  enum class Place { kOutside, kTop, kMetadata, kTensor, kShape, kOffsets };

  bool refuse(Status status);
  bool refuse_value(std::string_view what);
  bool enter_field(const std::string& name);
  bool finish_tensor();

  Place place_ = Place::kOutside;
  std::string field_;  // the last key
  StoredTensor tensor_;
  std::vector<int64_t> offsets_;
  std::unordered_set<std::string> fields_of_tensor_;
  std::unordered_set<std::string> names_;
  std::vector<StoredTensor> tensors_;
  Status status_;
};

}  // namespace octet
