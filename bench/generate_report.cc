#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "bench/generate_bench.h"

namespace octet {
namespace {

// A line's figures, from the median of its rounds.
struct Figures {
  double seconds = 0;
  double tokens_per_second = 0;
  double slowest = 0;  // tokens a second of the worst and the best round
  double fastest = 0;
  Ceilings ceilings;
  double bandwidth_share = 0;   // of the read ceiling
  double arithmetic_share = 0;  // of the fp32 multiply-add ceiling
  double bound_share = 0;       // of what both together allow
};

Figures figures_of(const GenerateLine& line) {
  Figures f;
  const auto tokens = static_cast<double>(line.tokens);
  const auto [best, worst] = std::ranges::minmax(line.seconds);
  f.seconds = median(line.seconds);
  f.tokens_per_second = tokens / f.seconds;
  f.slowest = tokens / worst;
  f.fastest = tokens / best;
  std::vector<double> read, multiply_add;
  for (const Ceilings& ceilings : line.ceilings) {
    read.push_back(ceilings.read_bytes_per_second);
    multiply_add.push_back(ceilings.f32_operations_per_second);
  }
  f.ceilings.read_bytes_per_second = median(read);
  f.ceilings.f32_operations_per_second = median(multiply_add);
  const double read_seconds = line.cost.bytes / f.ceilings.read_bytes_per_second;
  const double operation_seconds = line.cost.operations / f.ceilings.f32_operations_per_second;
  f.bandwidth_share = read_seconds / f.seconds;
  f.arithmetic_share = operation_seconds / f.seconds;
  f.bound_share = std::max(f.bandwidth_share, f.arithmetic_share);
  return f;
}

}  // namespace

std::string GenerateReport::to_text() const {
  std::string text = fmt::format("{:<7} {:>7} {:>6} {:>9} {:>21} {:>9} {:>7} {:>8} {:>10} {:>9} {:>6} {:>5} {:>7}\n",
                                 "", "streams", "tokens", "tokens/s", "(min - max)", "ms/step", "experts", "GB/step",
                                 "GFLOP/step", "read GB/s", "% read", "% FMA", "% bound");
  for (const GenerateLine& line : lines_) {
    const Figures f = figures_of(line);
    text += fmt::format(
        "{:<7} {:>7} {:>6} {:>9.1f} {:>21} {:>9.2f} {:>7.2f} {:>8.3f} {:>10.2f} {:>9.1f} {:>6.0f} {:>5.0f} {:>7.0f}\n",
        line.what, line.streams, line.tokens, f.tokens_per_second,
        fmt::format("({:.1f} - {:.1f})", f.slowest, f.fastest), 1e3 * f.seconds, line.cost.distinct_experts,
        1e-9 * line.cost.bytes, 1e-9 * line.cost.operations, 1e-9 * line.cost.bytes / f.seconds,
        100 * f.bandwidth_share, 100 * f.arithmetic_share, 100 * f.bound_share);
  }
  return text;
}

std::string GenerateReport::to_json() const {
  nlohmann::ordered_json json{{"results", nlohmann::ordered_json::array()}};
  for (const GenerateLine& line : lines_) {
    const Figures f = figures_of(line);
    json["results"].push_back({{"what", line.what},
                               {"streams", line.streams},
                               {"tokens_per_step", line.tokens},
                               {"rounds", line.seconds.size()},
                               {"tokens_per_s", f.tokens_per_second},
                               {"tokens_per_s_min", f.slowest},
                               {"tokens_per_s_max", f.fastest},
                               {"seconds_per_step", f.seconds},
                               {"expected_distinct_experts", line.cost.distinct_experts},
                               {"bytes_per_step", line.cost.bytes},
                               {"operations_per_step", line.cost.operations},
                               {"ceiling_read_bytes_per_s", f.ceilings.read_bytes_per_second},
                               {"ceiling_f32_operations_per_s", f.ceilings.f32_operations_per_second},
                               {"share_of_read", f.bandwidth_share},
                               {"share_of_f32", f.arithmetic_share},
                               {"share_of_bound", f.bound_share}});
  }
  return json.dump();
}

}  // namespace octet
