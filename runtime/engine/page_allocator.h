// PageAllocator: who holds which KV pages of one dp group. Pure bookkeeping; the pages themselves live in the runner.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "kernels/kv_cache.h"
#include "runtime/engine/sequence.h"

namespace octet {

// Pages of kPageTokens positions that hold `num_tokens` tokens.
constexpr int64_t pages_for(int64_t num_tokens) { return (num_tokens + kPageTokens - 1) / kPageTokens; }

// Invariant: a page is either free or in as many sequences' tables as it has references; only pages that are full may
// be shared, because a sequence writes to the page behind its last full one. Not thread-safe.
class PageAllocator {
 public:
  explicit PageAllocator(int64_t num_pages);

  // Makes room for the first `num_tokens` positions of a sequence, all or nothing: false, and nothing changed, if there
  // are not enough free pages. Never takes pages away.
  bool extend(SequenceId sequence, int64_t num_tokens);
  // Starts the table of `to`, which holds no pages, with the first `num_pages` pages of `from`.
  void share(SequenceId from, SequenceId to, int64_t num_pages);
  // Gives back all pages of a sequence; nothing if it holds none.
  void release(SequenceId sequence);

  // The pages of a sequence in the order of its positions; valid until it changes.
  std::span<const int32_t> pages(SequenceId sequence) const;
  int64_t num_pages() const { return std::ssize(num_references_); }
  int64_t num_free() const { return std::ssize(free_pages_); }
  // Aborts if the invariant does not hold. Walks over every page.
  void check_invariant() const;

 private:
  std::vector<int32_t> free_pages_;                    // a stack
  std::vector<int32_t> num_references_;                // [num_pages]
  std::map<SequenceId, std::vector<int32_t>> tables_;  // of sequences that hold pages
};

}  // namespace octet
