// PageAllocator: who holds which KV pages of one dp group. Pure bookkeeping; the pages themselves live in the runner.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "kernels/kv_cache.h"
#include "runtime/engine/prefix_cache.h"
#include "runtime/engine/sequence.h"

namespace octet {

// What the cache holds of a sequence's beginning.
struct PrefixHit {
  int64_t num_pages = 0;
  int64_t num_idle = 0;  // of these, held by nobody: taking them leaves so many fewer pages for others
};

// Invariant: a page is held, by as many sequences' tables as it has references, or free, or idle: held by nobody, but
// cached in case that a sequence begins with its tokens, and taken like a free page when there is none. Only pages that
// are full may be shared, because a sequence writes to the page behind its last full one. Not thread-safe.
class PageAllocator {
 public:
  PageAllocator(int64_t num_pages, bool caches_prefixes);

  // Makes room for the first `num_tokens` positions of a sequence, all or nothing: false, and nothing changed, if there
  // are not enough pages to be had. Never takes held pages away.
  bool extend(SequenceId sequence, int64_t num_tokens);
  // Makes room for as many of the first `num_tokens` positions of a sequence, which holds pages, as it can without
  // taking cached pages; how many of them have room then.
  int64_t extend_if_free(SequenceId sequence, int64_t num_tokens);
  // Gives back the pages of a sequence behind those of its first `num_tokens` positions.
  void trim(SequenceId sequence, int64_t num_tokens);
  // Starts the table of `to`, which holds no pages, with the first `num_pages` pages of `from`.
  void share(SequenceId from, SequenceId to, int64_t num_pages);
  // Gives back all pages of a sequence; nothing if it holds none.
  void release(SequenceId sequence);

  // The cache does nothing, and finds nothing, unless the allocator caches prefixes.
  // The longest run of whole pages cached with this salt at the start of `tokens`.
  PrefixHit find_prefix(std::span<const TokenId> tokens, const CacheSalt& salt) const;
  // Continues the first `num_full` pages of a sequence, which are full, with cached ones as far as these hold `tokens`,
  // the sequence's; they take the place of pages that it has there. How many pages are full then.
  int64_t use_cached(SequenceId sequence, std::span<const TokenId> tokens, int64_t num_full, const CacheSalt& salt);
  // The sequence's pages hold `tokens`, the first `num_known` whole pages of which the cache knows: it learns the
  // others. Where it knows another page with the same tokens, that one takes the place of the sequence's own.
  void cache(SequenceId sequence, std::span<const TokenId> tokens, int64_t num_known, const CacheSalt& salt);

  // The pages of a sequence in the order of its positions; valid until it changes.
  std::span<const int32_t> pages(SequenceId sequence) const;
  int64_t num_pages() const { return std::ssize(num_references_); }
  // Pages that can be had: free or idle.
  int64_t num_free() const { return std::ssize(free_pages_) + num_idle(); }
  int64_t num_idle() const { return cache_ ? cache_->num_idle() : 0; }
  int64_t num_evictions() const { return num_evictions_; }
  // Aborts if the invariant does not hold. Walks over every page.
  void check_invariant() const;

 private:
  int32_t take_page();
  void drop(int32_t page);
  // Makes `page` number `index` of a table, whose length is at least `index`.
  void put(std::vector<int32_t>& table, int64_t index, int32_t page);

  std::vector<int32_t> free_pages_;                    // a stack
  std::vector<int32_t> num_references_;                // [num_pages]
  std::map<SequenceId, std::vector<int32_t>> tables_;  // of sequences that hold pages
  std::optional<PrefixCache> cache_;
  int64_t num_evictions_ = 0;
};

}  // namespace octet
