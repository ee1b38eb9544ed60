// How much memory a rank's model takes and how many pages of the KV cache fit beside it.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/base/status.h"

namespace octet {

struct KvBudget {
  int64_t available = 0;           // bytes for this rank; 0: not known
  std::string bound = {};          // what bounds them: "its device", "control group /batch/job"
  bool is_devices_own = false;     // of a device that nothing else needs memory of
  int64_t weight_bytes = 0;        // of this rank
  int64_t workspace_bytes = 0;     // of this rank: Mixtral::working_memory
  int64_t page_bytes = 0;          // of one page over all layers
  int64_t wanted_pages = 0;        // for as many contexts as run at once
  int64_t requested_kv_bytes = 0;  // --kv-cache; 0: not said
  int num_ranks = 1;
};

// Pages of the KV cache: as many as requested, else those that are wanted and fit: into what the model leaves of the
// memory (beside library_reserve), and on a host into a quarter of it. kInvalidInput where not even one fits, or where
// what was requested does not: with the numbers, and what would fit.
Result<int64_t> choose_pages(const KvBudget& budget);

}  // namespace octet
