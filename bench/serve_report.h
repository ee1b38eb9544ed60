// The figures of loads on a service, as a table and as JSON. bench/README.md defines them.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "bench/serve_bench.h"

namespace octet {

// What a request must keep to be good; unset: anything is.
struct ServeLimits {
  std::optional<double> time_to_first_token;    // seconds
  std::optional<double> time_per_output_token;  // seconds
};

// Percentiles are interpolated linearly between the two nearest ranks. REQUIRES: values is not empty, 0 <= share <= 1.
double percentile(std::vector<double> values, double share);

std::string serve_table(const std::vector<ServeRun>& runs, const ServeLimits& limits);
nlohmann::ordered_json serve_json(const std::vector<ServeRun>& runs, const ServeLimits& limits);

}  // namespace octet
