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
// 0. Rank 0 listens for as long as this takes: on one host on its loopback interface, on several at the first of its
// addresses that `address` names (own_addresses; or anything else by which all others reach it), at all of them where
// `address` is empty. Fails on every rank if one cannot connect.
//
// Strangers that call meanwhile, be they silent, slow, many, or talking nonsense, are turned away (comm/handshake.h:
// they do not know the secret that rank 0 has told its ranks) and neither hold up the job nor take more than a few
// hundred kilobytes and kMaxCallers descriptors.
Result<std::vector<RankLink>> connect_watchdogs(CommWorld& world, const std::string& address);

// Callers that rank 0 hears at a time. Whoever has been silent for longest makes room for the next.
inline constexpr size_t kMaxCallers = 128;

}  // namespace octet
