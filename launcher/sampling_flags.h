// The flags that say how tokens are chosen and when an output ends.
#pragma once

#include <CLI/CLI.hpp>
#include <list>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/checkpoint/generation_params.h"

namespace octet {

// A flag for each of generation_params().
class SamplingFlags {
 public:
  void declare(CLI::App& app);
  // The checkpoint's defaults, overridden by the flags that were given. kInvalidInput names a bad flag and its value.
  Result<GenerationParams> params(const GenerationDefaults& defaults) const;

 private:
  enum class Kind { kNumber, kText, kTexts, kNumbers, kMap, kSwitch };
  struct Flag {
    const GenerationParam* param;
    std::string name;  // without dashes in front
    Kind kind;
    CLI::Option* option = nullptr;
    std::vector<std::string> values;
  };
  static Kind kind_of(const GenerationParam& param);
  // Whether what should be numbers is.
  static Status check_numbers(const Flag& flag);
  static nlohmann::json value_of(const Flag& flag);
  void add(CLI::App& app, const GenerationParam& param);

  std::list<Flag> flags_;  // options point at the values
};

}  // namespace octet
