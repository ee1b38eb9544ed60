// LengthDistribution: how many tokens the prompts or the outputs of a load have.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <variant>

#include "runtime/base/status.h"

namespace octet {

class LengthDistribution {
 public:
  // "128": always; "uniform:64-256": each length alike; "lognormal:128,0.8" or "lognormal:128,0.8,2048": median,
  // standard deviation of the logarithm, and the largest (default: 8 medians). kInvalidInput for anything else.
  static Result<LengthDistribution> parse(std::string_view text);

  static LengthDistribution fixed(int64_t length) { return LengthDistribution(Uniform{length, length}); }

  // At least 1.
  int64_t draw(std::mt19937_64& random) const;

 private:
  struct Uniform {
    int64_t least, most;
  };
  struct Lognormal {
    double median, sigma;
    int64_t most;
  };
  explicit LengthDistribution(std::variant<Uniform, Lognormal> shape) : shape_(shape) {}

  std::variant<Uniform, Lognormal> shape_;
};

}  // namespace octet
