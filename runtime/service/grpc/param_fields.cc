#include "runtime/service/grpc/param_fields.h"

#include <google/protobuf/message.h>
#include <google/protobuf/reflection.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <utility>

#include "runtime/base/check.h"

namespace octet {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Where a parameter is in the request.
struct ParamField {
  const GenerationParam* param = nullptr;
  const FieldDescriptor* part = nullptr;  // the message in the request that has it; null: the request itself
  const FieldDescriptor* field = nullptr;

  std::pair<int, int> number() const { return {part == nullptr ? 0 : part->number(), field->number()}; }
};

ParamField find_field(const GenerationParam& param) {
  const std::string_view path = param.proto;
  const google::protobuf::Descriptor* message = v1::GenerateRequest::descriptor();
  ParamField found{.param = &param};
  const size_t dot = path.find('.');
  if (dot != std::string_view::npos) {
    found.part = message->FindFieldByName(std::string(path.substr(0, dot)));
    OCTET_CHECK(found.part != nullptr, "no field {}", path);
    message = found.part->message_type();
  }
  found.field = message->FindFieldByName(std::string(path.substr(dot + 1)));  // npos + 1 is 0
  OCTET_CHECK(found.field != nullptr, "no field {}", path);
  return found;
}

// In the order of the message's fields.
const std::vector<ParamField>& param_fields() {
  static const std::vector<ParamField> fields = [] {
    std::vector<ParamField> all;
    for (const GenerationParam& param : generation_params()) all.push_back(find_field(param));
    std::ranges::sort(all, {}, &ParamField::number);
    return all;
  }();
  return fields;
}

// The decimal number that a client wrote, rather than the float nearest to it: 0.7 is the 0.7 of the command line.
double widen(float value) {
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  double wide = value;  // NaN and infinity, which are refused later, read back as such, too
  std::from_chars(text.data(), end, wide);
  return wide;
}

// Reads a field into the member of its parameter, whatever the type.
class FieldReader {
 public:
  FieldReader(const Message& message, const FieldDescriptor* field)
      : message_(message), fields_(*message.GetReflection()), field_(field) {}

  void operator()(double& value) const { value = widen(fields_.GetFloat(message_, field_)); }
  void operator()(int64_t& value) const { value = integer(); }
  void operator()(std::optional<int64_t>& value) const { value = integer(); }
  void operator()(std::optional<uint64_t>& value) const { value = fields_.GetUInt64(message_, field_); }
  void operator()(bool& value) const { value = fields_.GetBool(message_, field_); }
  void operator()(std::string& value) const { value = fields_.GetString(message_, field_); }
  void operator()(std::vector<TokenId>& values) const {
    const auto all = fields_.GetRepeatedFieldRef<int32_t>(message_, field_);
    values.assign(all.begin(), all.end());
  }
  void operator()(std::vector<std::string>& values) const {
    const auto all = fields_.GetRepeatedFieldRef<std::string>(message_, field_);
    values.assign(all.begin(), all.end());
  }
  void operator()(std::map<TokenId, double>& values) const {
    const FieldDescriptor *key = field_->message_type()->map_key(), *value = field_->message_type()->map_value();
    for (int i = 0; i < fields_.FieldSize(message_, field_); ++i) {
      const Message& entry = fields_.GetRepeatedMessage(message_, field_, i);
      values[entry.GetReflection()->GetInt32(entry, key)] = widen(entry.GetReflection()->GetFloat(entry, value));
    }
  }

 private:
  int64_t integer() const {
    return field_->cpp_type() == FieldDescriptor::CPPTYPE_UINT32 ? int64_t{fields_.GetUInt32(message_, field_)}
                                                                 : int64_t{fields_.GetInt32(message_, field_)};
  }

  const Message& message_;
  const google::protobuf::Reflection& fields_;
  const FieldDescriptor* field_;
};

// Writes the member of a parameter into its field, whatever the type.
class FieldWriter {
 public:
  FieldWriter(const GenerationParam& param, Message& message, const FieldDescriptor* field)
      : param_(param), message_(message), fields_(*message.GetReflection()), field_(field) {}

  Status operator()(double value) const {
    return fields_.SetFloat(&message_, field_, static_cast<float>(value)), ok_status();
  }
  Status operator()(int64_t value) const {
    if (field_->cpp_type() == FieldDescriptor::CPPTYPE_UINT32) {
      OCTET_RETURN_IF_ERROR(check_room<uint32_t>(value));
      fields_.SetUInt32(&message_, field_, static_cast<uint32_t>(value));
    } else {
      OCTET_RETURN_IF_ERROR(check_room<int32_t>(value));
      fields_.SetInt32(&message_, field_, static_cast<int32_t>(value));
    }
    return ok_status();
  }
  Status operator()(const std::optional<int64_t>& value) const { return value ? (*this)(*value) : ok_status(); }
  Status operator()(const std::optional<uint64_t>& value) const {
    if (value) fields_.SetUInt64(&message_, field_, *value);
    return ok_status();
  }
  Status operator()(bool value) const { return fields_.SetBool(&message_, field_, value), ok_status(); }
  Status operator()(const std::string& value) const { return fields_.SetString(&message_, field_, value), ok_status(); }
  Status operator()(const std::vector<TokenId>& values) const {
    for (const TokenId id : values) fields_.AddInt32(&message_, field_, id);
    return ok_status();
  }
  Status operator()(const std::vector<std::string>& values) const {
    for (const std::string& value : values) fields_.AddString(&message_, field_, value);
    return ok_status();
  }
  Status operator()(const std::map<TokenId, double>& values) const {
    const FieldDescriptor *key = field_->message_type()->map_key(), *mapped = field_->message_type()->map_value();
    for (const auto& [id, value] : values) {
      Message& entry = *fields_.AddMessage(&message_, field_);
      entry.GetReflection()->SetInt32(&entry, key, id);
      entry.GetReflection()->SetFloat(&entry, mapped, static_cast<float>(value));
    }
    return ok_status();
  }

 private:
  template <typename Number>
  Status check_room(int64_t value) const {
    constexpr int64_t kLeast = std::numeric_limits<Number>::min(), kMost = std::numeric_limits<Number>::max();
    if (value >= kLeast && value <= kMost) return ok_status();
    return invalid_field(param_.name, "{} is not in [{}, {}]", value, kLeast, kMost);
  }

  const GenerationParam& param_;
  Message& message_;
  const google::protobuf::Reflection& fields_;
  const FieldDescriptor* field_;
};

}  // namespace

void read_param_fields(const v1::GenerateRequest& request, GenerationParams& params) {
  for (const auto& [param, part, field] : param_fields()) {
    const Message& message = part == nullptr ? request : request.GetReflection()->GetMessage(request, part);
    if (field->has_presence() && !message.GetReflection()->HasField(message, field)) continue;
    visit_param(*param, params, FieldReader(message, field));
  }
}

Status write_param_fields(const GenerationParams& params, v1::GenerateRequest& request) {
  for (const auto& [param, part, field] : param_fields()) {
    Message& message = part == nullptr ? request : *request.GetReflection()->MutableMessage(&request, part);
    OCTET_RETURN_IF_ERROR(visit_param(*param, params, FieldWriter(*param, message, field)));
  }
  return ok_status();
}

}  // namespace octet
