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
  bool has_limits = false;
  Limits limits;
  double bandwidth_share = 0;   // of the read limit
  double arithmetic_share = 0;  // of the products' limit
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
  f.has_limits = !line.limits.empty();
  if (!f.has_limits) return f;
  std::vector<double> read, products;
  for (const Limits& limits : line.limits) {
    read.push_back(limits.read_bytes_per_second);
    products.push_back(limits.operations_per_second);
  }
  f.limits = {median(read), median(products)};
  f.bandwidth_share = line.cost.bytes / f.limits.read_bytes_per_second / f.seconds;
  f.arithmetic_share = line.cost.operations / f.limits.operations_per_second / f.seconds;
  f.bound_share = std::max(f.bandwidth_share, f.arithmetic_share);
  return f;
}

}  // namespace

std::string GenerateReport::to_text() const {
  std::string text = fmt::format("{:<7} {:>7} {:>6} {:>9} {:>21} {:>9} {:>7} {:>8} {:>10} {:>9} {:>6} {:>10} {:>7}\n",
                                 "", "streams", "tokens", "tokens/s", "(min - max)", "ms/step", "experts", "GB/step",
                                 "GFLOP/step", "read GB/s", "% read", "% products", "% bound");
  for (const GenerateLine& line : lines_) {
    const Figures f = figures_of(line);
    const auto percent = [&](double share) { return f.has_limits ? fmt::format("{:.0f}", 100 * share) : "-"; };
    text += fmt::format(
        "{:<7} {:>7} {:>6} {:>9.1f} {:>21} {:>9.2f} {:>7.2f} {:>8.3f} {:>10.2f} {:>9.1f} {:>6} {:>10} {:>7}\n",
        line.what, line.streams, line.tokens, f.tokens_per_second,
        fmt::format("({:.1f} - {:.1f})", f.slowest, f.fastest), 1e3 * f.seconds, line.cost.distinct_experts,
        1e-9 * line.cost.bytes, 1e-9 * line.cost.operations, 1e-9 * line.cost.bytes / f.seconds,
        percent(f.bandwidth_share), percent(f.arithmetic_share), percent(f.bound_share));
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
                               {"operations_per_step", line.cost.operations}});
    if (!f.has_limits) continue;
    json["results"].back().update({{"limit_read_bytes_per_s", f.limits.read_bytes_per_second},
                                   {"limit_operations_per_s", f.limits.operations_per_second},
                                   {"share_of_read", f.bandwidth_share},
                                   {"share_of_operations", f.arithmetic_share},
                                   {"share_of_bound", f.bound_share}});
  }
  return json.dump();
}

}  // namespace octet
