#include "launcher/sampling_flags.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <type_traits>
#include <utility>

#include "runtime/base/quote.h"

namespace octet {
namespace {

// No number if the text is none.
nlohmann::json number(const std::string& text) {
  return nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
}

// "ID=X" entries, X a number, as an object.
nlohmann::json bias_object(const std::vector<std::string>& entries) {
  auto object = nlohmann::json::object();
  for (const std::string& entry : entries) {
    const auto equals = entry.find('=');
    object[entry.substr(0, equals)] = number(entry.substr(equals + 1));
  }
  return object;
}

}  // namespace

SamplingFlags::Kind SamplingFlags::kind_of(const GenerationParam& param) {
  const GenerationParams defaults;
  return visit_param(param, defaults, []<typename Member>(const Member&) {
    if constexpr (std::is_same_v<Member, bool>) return Kind::kSwitch;
    if constexpr (std::is_same_v<Member, std::string>) return Kind::kText;
    if constexpr (std::is_same_v<Member, std::vector<std::string>>) return Kind::kTexts;
    if constexpr (std::is_same_v<Member, std::vector<TokenId>>) return Kind::kNumbers;
    if constexpr (std::is_same_v<Member, std::map<TokenId, double>>) return Kind::kMap;
    return Kind::kNumber;
  });
}

void SamplingFlags::add(CLI::App& app, const GenerationParam& param) {
  std::string name = *param.flag == '\0' ? param.name : param.flag;
  std::ranges::replace(name, '_', '-');
  Flag& flag = flags_.emplace_back(Flag{&param, std::move(name), kind_of(param), nullptr, {}});
  if (flag.kind == Kind::kSwitch) {
    flag.option = app.add_flag("--" + flag.name)->description(param.help);
  } else {
    flag.option = app.add_option("--" + flag.name, flag.values, param.help)->type_name(param.value_name);
    flag.option->allow_extra_args(false);
    if (flag.kind == Kind::kNumber || flag.kind == Kind::kText) flag.option->expected(1);
  }
  flag.option->group("Sampling");
}

void SamplingFlags::declare(CLI::App& app) {
  for (const GenerationParam& param : generation_params()) add(app, param);
}

Status SamplingFlags::check_numbers(const Flag& flag) {
  const bool is_map = flag.kind == Kind::kMap;
  if (flag.kind != Kind::kNumber && flag.kind != Kind::kNumbers && !is_map) return ok_status();
  for (const std::string& given : flag.values) {
    const auto equals = is_map ? given.find('=') : std::string::npos;
    const bool has_form = !is_map || equals != std::string::npos;
    if (has_form && number(given.substr(equals + 1)).is_number()) continue;
    return invalid_input("--{}: {} is not {}", flag.name, quote(given), is_map ? "ID=X with a number X" : "a number");
  }
  return ok_status();
}

nlohmann::json SamplingFlags::value_of(const Flag& flag) {
  nlohmann::json value;
  switch (flag.kind) {
    case Kind::kNumber:
      return number(flag.values.back());
    case Kind::kTexts:
      return flag.values;
    case Kind::kText:
      return flag.values.back();
    case Kind::kNumbers:
      for (const std::string& text : flag.values) value.push_back(number(text));
      return value;
    case Kind::kMap:
      return bias_object(flag.values);
    case Kind::kSwitch:
      return flag.option->as<bool>();
  }
  return value;
}

Result<GenerationParams> SamplingFlags::params(const GenerationDefaults& defaults) const {
  GenerationParams params{.sampling = defaults};
  for (const Flag& flag : flags_) {
    if (flag.option->count() == 0) continue;
    OCTET_RETURN_IF_ERROR(check_numbers(flag));
    const Status status = set_generation_param(flag.param->name, value_of(flag), params);
    if (status.ok()) continue;
    const std::string given = flag.kind == Kind::kNumber ? " " + quote(flag.values.back()) : "";
    return invalid_input("--{}{}: {}", flag.name, given, status.message());
  }
  return params;
}

}  // namespace octet
