// The flags that say how tokens are chosen and when an output ends.
#pragma once

#include <CLI/CLI.hpp>
#include <list>
#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/engine/generation_params.h"

namespace octet {

class SamplingFlags {
 public:
  void declare(CLI::App& app);
  // The checkpoint's defaults, overridden by the flags that were given. kInvalidInput names a bad flag and its value.
  Result<GenerationParams> params(const GenerationDefaults& defaults) const;

 private:
  enum class Kind { kNumber, kText, kTexts, kNumbers, kMap, kSwitch };
  struct Flag {
    const char* name;   // without dashes
    const char* param;  // its name for set_generation_param
    Kind kind;
    CLI::Option* option = nullptr;
    std::vector<std::string> values;
  };
  // Whether what should be numbers is.
  static Status check_numbers(const Flag& flag);
  void add(CLI::App& app, const char* name, const char* param, Kind kind, const char* type, const char* help);

  std::list<Flag> flags_;  // options point at the values
};

}  // namespace octet
