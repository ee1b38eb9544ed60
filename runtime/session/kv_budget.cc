#include "runtime/session/kv_budget.h"

#include <algorithm>

#include "kernels/kv_cache.h"
#include "runtime/base/human_bytes.h"
#include "runtime/session/memory_plan.h"

namespace octet {
namespace {

std::string text(int64_t bytes) { return human_bytes(static_cast<double>(bytes)); }

// What is left for pages.
int64_t room_for_pages(const KvBudget& budget) {
  const int64_t reserve = budget.is_devices_own ? library_reserve(budget.available) : host_reserve(budget.available);
  return budget.available - reserve - budget.weight_bytes - budget.workspace_bytes;
}

// Ranks among which the weights would fit, as far as they can be told from one rank's share; 0: the rest is too much.
int ranks_that_fit(const KvBudget& budget) {
  int num_ranks = budget.num_ranks;
  KvBudget smaller = budget;
  while (num_ranks < 1024) {
    num_ranks *= 2;
    smaller.weight_bytes = budget.weight_bytes * budget.num_ranks / num_ranks;
    if (room_for_pages(smaller) >= budget.page_bytes) return num_ranks;
  }
  return 0;
}

Status does_not_fit(const KvBudget& budget, int64_t kv_bytes) {
  const int64_t room = room_for_pages(budget);
  const std::string numbers = fmt::format(
      "a rank of this model needs {} (weights {}, working memory {}, KV cache {}) and {} has {} free for it",
      text(budget.weight_bytes + budget.workspace_bytes + kv_bytes), text(budget.weight_bytes),
      text(budget.workspace_bytes), text(kv_bytes), budget.bound, text(budget.available));
  if (room >= budget.page_bytes) return invalid_input("{}: --kv-cache {}M would fit", numbers, room >> 20);
  const int num_ranks = ranks_that_fit(budget);
  if (num_ranks == 0) return invalid_input("{}: no number of ranks would fit it", numbers);
  return invalid_input("{}: about {} ranks would fit it, each with {}", numbers, num_ranks,
                       budget.is_devices_own ? "a device" : "as much memory");
}

}  // namespace

Result<int64_t> choose_pages(const KvBudget& budget) {
  const bool is_known = budget.available > 0;
  if (budget.requested_kv_bytes > 0) {
    const int64_t pages = budget.requested_kv_bytes / budget.page_bytes;
    if (pages == 0) {
      return invalid_input("--kv-cache {}: one page of {} tokens takes {}", budget.requested_kv_bytes, kPageTokens,
                           budget.page_bytes);
    }
    if (is_known && pages * budget.page_bytes > room_for_pages(budget))
      return does_not_fit(budget, pages * budget.page_bytes);
    return pages;
  }
  if (!is_known) return 1;
  const int64_t affordable = room_for_pages(budget) / budget.page_bytes;
  if (affordable < 1) return does_not_fit(budget, budget.page_bytes);
  if (budget.is_devices_own) return std::min(affordable, budget.wanted_pages);
  const int64_t quarter = std::max(budget.available / 4 / budget.page_bytes, int64_t{1});
  return std::min({affordable, quarter, budget.wanted_pages});
}

}  // namespace octet
