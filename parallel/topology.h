// Which ranks work together, and on what: pure arithmetic, no communication.
#pragma once

#include <cstdint>

#include "runtime/base/status.h"

namespace octet {

// The part of a model that bounds its layouts.
struct ModelShape {
  int64_t num_kv_heads = 0;
  int64_t num_experts = 0;
};

// How many ways each dimension is cut; 0: choose the default.
struct LayoutRequest {
  int world = 1;
  int tp = 0, dp = 0, ep = 0, etp = 0;
};

// A layout of `world` ranks: world = dp · tp for attention, world = replicas · ep · etp for experts.
struct Topology {
  int world = 1;
  int tp = 1;        // tensor parallelism of attention, over KV heads
  int dp = 1;        // attention replicas, each with its own sequences
  int ep = 1;        // places that experts are dealt to
  int etp = 1;       // ranks of a place, sharing its experts by slices of the ffn dimension
  int replicas = 1;  // copies of all experts

  // rank = dp_index · tp + tp_index
  int tp_index(int rank) const { return rank % tp; }
  int dp_index(int rank) const { return rank / tp; }
  // rank = (replica · ep + ep_index) · etp + etp_index
  int etp_index(int rank) const { return rank % etp; }
  int ep_index(int rank) const { return rank / etp % ep; }
  int replica(int rank) const { return rank / (etp * ep); }
  bool operator==(const Topology&) const = default;
};

// Fills in the defaults (tp the largest of 1, 2, 4, 8 that divides world and the KV heads; etp 1; ep the largest
// divisor of world / etp that is at most the number of experts) and checks the result. A layout that does not fit is
// kInvalidInput with a list of those that do.
Result<Topology> make_topology(const LayoutRequest& request, const ModelShape& model);

}  // namespace octet
