#include "parallel/topology.h"

#include <string>
#include <vector>

namespace octet {
namespace {

constexpr int kPowers[] = {1, 2, 4, 8};

std::vector<int> fitting_tp(int world, const ModelShape& model) {
  std::vector<int> fitting;
  for (const int tp : kPowers) {
    if (world % tp == 0 && model.num_kv_heads % tp == 0) fitting.push_back(tp);
  }
  return fitting;
}

// Every layout that fits: attention and experts are cut independently.
std::string list_layouts(int world, const ModelShape& model) {
  std::string text = "layouts of " + std::to_string(world) + " ranks that fit: (tp, dp) =";
  for (const int tp : fitting_tp(world, model)) text += fmt::format(" ({}, {})", tp, world / tp);
  text += "; (ep, etp, replicas) =";
  for (const int etp : kPowers) {
    if (world % etp != 0) continue;
    for (int ep = 1; ep <= world / etp && ep <= model.num_experts; ++ep) {
      if (world / etp % ep == 0) text += fmt::format(" ({}, {}, {})", ep, etp, world / etp / ep);
    }
  }
  return text;
}

bool is_power_up_to_8(int value) { return value == 1 || value == 2 || value == 4 || value == 8; }

}  // namespace

Result<Topology> make_topology(const LayoutRequest& request, const ModelShape& model) {
  const int world = request.world;
  if (world < 1) return invalid_input("a job of {} ranks: at least one is needed", world);
  Topology t{.world = world, .tp = request.tp, .dp = request.dp, .ep = request.ep, .etp = request.etp};
  if (t.tp == 0) t.tp = t.dp > 0 && world % t.dp == 0 ? world / t.dp : fitting_tp(world, model).back();
  if (t.dp == 0) t.dp = world / t.tp;
  if (t.etp == 0) t.etp = 1;
  if (t.ep == 0 && t.etp <= world) {
    for (t.ep = world / t.etp; t.ep > 1 && (t.ep > model.num_experts || world / t.etp % t.ep != 0);) --t.ep;
  }
  const bool attention_fits = is_power_up_to_8(t.tp) && t.tp * t.dp == world && model.num_kv_heads % t.tp == 0;
  const bool experts_fit =
      is_power_up_to_8(t.etp) && t.ep >= 1 && t.ep <= model.num_experts && world % (t.ep * t.etp) == 0;
  if (!attention_fits || !experts_fit) {
    return invalid_input("tp {} x dp {}, ep {} x etp {} does not fit {} ranks, {} KV heads and {} experts; {}", t.tp,
                         t.dp, t.ep, t.etp, world, model.num_kv_heads, model.num_experts, list_layouts(world, model));
  }
  t.replicas = world / (t.ep * t.etp);
  return t;
}

}  // namespace octet
