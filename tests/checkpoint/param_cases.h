// Values for each of the generation parameters, whatever its type.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <type_traits>
#include <vector>

#include "runtime/checkpoint/generation_params.h"

namespace octet {

template <typename Member, typename... Others>
inline constexpr bool is_any_of = (std::is_same_v<Member, Others> || ...);

// Good, and not the default, as a batch line has it.
inline nlohmann::json good_value(const GenerationParam& param) {
  const GenerationParams defaults;
  return visit_param(param, defaults, [&]<typename Member>(const Member&) -> nlohmann::json {
    const double within = 0.75 * param.range.least + 0.25 * param.range.most;
    if constexpr (is_any_of<Member, double>) return within;
    if constexpr (is_any_of<Member, std::map<TokenId, double>>) return {{"7", within}};
    if constexpr (is_any_of<Member, bool>) return true;
    if constexpr (is_any_of<Member, std::string>) return "plum";
    if constexpr (is_any_of<Member, std::vector<std::string>>) return {"plum", "pear"};
    if constexpr (is_any_of<Member, std::vector<TokenId>>) return {4, 5};
    return 3U;  // as text is read
  });
}

// Whether two sets of parameters have the same value of one.
inline bool is_equal(const GenerationParam& param, const GenerationParams& a, const GenerationParams& b) {
  return visit_param(param, a, [&](const auto& left) {
    return visit_param(param, b, [&](const auto& right) {
      if constexpr (std::is_same_v<decltype(left), decltype(right)>) return left == right;
      return false;
    });
  });
}

// The names of those whose values differ.
inline std::vector<std::string> differences(const GenerationParams& a, const GenerationParams& b) {
  std::vector<std::string> names;
  for (const GenerationParam& param : generation_params()) {
    if (!is_equal(param, a, b)) names.emplace_back(param.name);
  }
  return names;
}

// Numbers that are the last good ones, and the first bad ones, of a range that is no engine's.
struct RangeEnds {
  std::vector<double> good, bad;
};
inline RangeEnds ends_of(const ParamRange& range) {
  RangeEnds ends;
  constexpr double kStep = 1e-3;
  const auto add = [&](double bound, double inside, bool is_in) {
    (is_in ? ends.good : ends.bad).push_back(bound);
    ends.good.push_back(bound + inside);
    ends.bad.push_back(bound - inside);
  };
  if (range.least > -std::numeric_limits<double>::infinity()) add(range.least, kStep, !range.is_above_least);
  if (range.most < std::numeric_limits<double>::infinity()) add(range.most, -kStep, true);
  return ends;
}

// The parameter set to a number: of a map, for one token. False where it is no number with a range of its own.
inline bool set_number(const GenerationParam& param, double value, GenerationParams& params) {
  return visit_param(param, params, [&]<typename Member>(Member& member) {
    if constexpr (is_any_of<Member, double>) return member = value, true;
    if constexpr (is_any_of<Member, std::map<TokenId, double>>) return member[7] = value, true;
    return false;
  });
}

}  // namespace octet
