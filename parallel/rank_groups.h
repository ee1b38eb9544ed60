// The groups of ranks that one rank talks to, and their communicators.
#pragma once

#include <memory>
#include <vector>

#include "comm/comm_world.h"
#include "parallel/topology.h"

namespace octet {

// World ranks, in the order of their index in the group.
struct RankGroups {
  std::vector<int> tp;       // share attention
  std::vector<int> experts;  // hold all experts once: rank (ep_index, etp_index) at ep_index · etp + etp_index
  std::vector<int> place;    // of those, the ranks that share this rank's experts by ffn slices
  std::vector<int> peers;    // of those, the ranks with the same etp_index, one a place
};

RankGroups make_rank_groups(const Topology& topology, int rank);

// Making it is collective over the world.
struct ModelComms {
  ModelComms(CommWorld& comm_world, const Topology& topology);

  CommWorld& world;
  std::unique_ptr<DeviceComm> all;  // every rank of the job
  std::unique_ptr<DeviceComm> tp;
  std::unique_ptr<DeviceComm> experts;
  std::unique_ptr<DeviceComm> place;
  std::unique_ptr<DeviceComm> peers;
};

}  // namespace octet
