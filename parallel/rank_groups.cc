#include "parallel/rank_groups.h"

namespace octet {
namespace {

std::vector<int> consecutive(int first, int count, int stride = 1) {
  std::vector<int> ranks;
  for (int i = 0; i < count; ++i) ranks.push_back(first + i * stride);
  return ranks;
}

}  // namespace

RankGroups make_rank_groups(const Topology& t, int rank) {
  const int expert_base = t.replica(rank) * t.ep * t.etp;
  return {consecutive(t.dp_index(rank) * t.tp, t.tp), consecutive(expert_base, t.ep * t.etp),
          consecutive(expert_base + t.ep_index(rank) * t.etp, t.etp),
          consecutive(expert_base + t.etp_index(rank), t.ep, t.etp)};
}

ModelComms::ModelComms(CommWorld& comm_world, const Topology& topology) : world(comm_world) {
  const RankGroups groups = make_rank_groups(topology, world.rank());
  all = world.make_group(consecutive(0, topology.world));
  tp = world.make_group(groups.tp);
  experts = world.make_group(groups.experts);
  place = world.make_group(groups.place);
  peers = world.make_group(groups.peers);
}

}  // namespace octet
