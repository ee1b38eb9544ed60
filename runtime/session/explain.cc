#include "runtime/session/explain.h"

#include <fmt/ranges.h>

namespace octet {
namespace {

std::string describe_cost(RowLayoutKind kind, const ModelConfig& config, const Topology& topology, DType dtype) {
  const RowLayoutCost cost = row_layout_cost(kind, topology, config.num_experts, config.experts_per_token,
                                             config.hidden_size, dtype_size(dtype));
  const double layers = static_cast<double>(config.num_layers);
  return fmt::format("  {:<11} {} rounds a layer, {:.0f} bytes a token sent by a rank in all layers",
                     row_layout_name(kind), cost.num_messages, cost.bytes_per_row() * layers);
}

}  // namespace

std::string layout_text(const Topology& t) {
  const auto s = [](int count) { return count > 1 ? "s" : ""; };
  return fmt::format("layout of {} rank{}: tp {} x dp {}, ep {} x etp {} x {} replica{}", t.world, s(t.world), t.tp,
                     t.dp, t.ep, t.etp, t.replicas, s(t.replicas));
}

std::vector<std::string> explain_layout(const ModelConfig& config, const Topology& t,
                                        const std::vector<std::vector<int32_t>>& experts_of_place,
                                        const RowLayoutChooser& chooser, DType exchange_dtype) {
  std::vector<std::string> lines = {layout_text(t)};
  for (size_t place = 0; place < experts_of_place.size(); ++place) {
    lines.push_back(fmt::format("  place {}: experts {}", place, fmt::join(experts_of_place[place], " ")));
  }
  lines.push_back(describe_cost(RowLayoutKind::kReplicated, config, t, exchange_dtype));
  lines.push_back(describe_cost(RowLayoutKind::kSliced, config, t, exchange_dtype));
  lines.push_back(chooser.threshold()
                      ? fmt::format("  steps of {} rows and more (of one dp group) go all-to-all", *chooser.threshold())
                      : "  every step uses the replicated layout");
  return lines;
}

}  // namespace octet
