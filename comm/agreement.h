// Collective checks at start-up: what must be the same on every rank, and whether every rank is fine.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "comm/comm_world.h"
#include "runtime/base/status.h"

namespace octet {

// Something that every rank must have alike: "binary", "--tp", "config.json".
struct NamedHash {
  std::string name;
  uint64_t hash = 0;
};

// kInvalidInput, the same on every rank, where a rank has other names or hashes than rank 0: "rank 2 (host b) differs
// from rank 0 in: config.json, binary".
Status check_same(CommWorld& world, std::span<const NamedHash> mine);

// ok where every rank is ok; otherwise, on every rank, the failure of the lowest rank that failed, with that rank's
// name in front.
Status agree(CommWorld& world, const Status& mine);

}  // namespace octet
