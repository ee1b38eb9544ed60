// Ranks as threads of one process, for tests: the same interfaces as a real job, by shared memory.
#pragma once

#include <functional>

#include "comm/comm_world.h"
#include "runtime/base/status.h"

namespace octet {

class ThreadWorld {
 public:
  // Runs `body` once a rank, each on a thread of its own, and waits for all. A body that fails or throws ends the
  // others: their collectives throw out of the body. Returns the failure that came first, ok if there was none.
  static Status run(int num_ranks, const std::function<Status(CommWorld&)>& body);
};

}  // namespace octet
