// What a device gives at best, for measurements to be put beside.
#pragma once

#include <functional>
#include <optional>

namespace octet {

struct Limits {
  double read_bytes_per_second = 0;
  double operations_per_second = 0;  // of products, a multiply-add counts as two
};

// Asked before every measurement, for the speed of a shared machine changes. Nothing: not known.
using LimitSource = std::function<std::optional<Limits>()>;

}  // namespace octet
