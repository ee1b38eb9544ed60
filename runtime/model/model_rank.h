// ModelRank: the rank that a model's parts are built for, and what they are built on.
#pragma once

#include "kernels/backend.h"
#include "parallel/rank_groups.h"
#include "parallel/topology.h"

namespace octet {

// Backend and communicators outlive what is built on them.
struct ModelRank {
  Topology topology;
  Backend& backend;
  ModelComms& comms;

  int rank() const { return comms.world.rank(); }
  int dp_index() const { return topology.dp_index(rank()); }
  bool leads() const { return rank() == 0; }             // hears what the others found
  bool is_alone() const { return topology.world == 1; }  // there are no others
  bool has_own_memory() const { return backend.memory_kind() != MemoryKind::kHost; }
};

}  // namespace octet
