// The connections among a job's watchdogs: every rank has one to rank 0.
#pragma once

#include <string>
#include <vector>

#include "comm/comm_world.h"
#include "comm/message_link.h"
#include "runtime/base/status.h"

namespace octet {

struct RankLink {
  int rank = 0;  // at the other end
  MessageLink link;
};

// Collective over the world. Rank 0 gets a link to every other rank, in no particular order; each of these one to rank
// 0. `address` (of rank 0's; empty: all it has) is an interface's name or an address by which all others reach rank 0.
// Fails on every rank if one cannot connect. A stranger that connects is turned away: it does not know the secret that
// rank 0 has told its ranks.
Result<std::vector<RankLink>> connect_watchdogs(CommWorld& world, const std::string& address);

}  // namespace octet
