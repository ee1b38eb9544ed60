// PrefixCache: which KV pages of one dp group hold which tokens, so that a sequence that begins like an earlier one
// need not compute that beginning again (hash chains over pages: Kwon et al., "PagedAttention", SOSP 2023; a tree with
// its least recently used leaves evicted: Zheng et al., "SGLang", 2024). Pure bookkeeping.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/kv_cache.h"
#include "runtime/base/tensor.h"

namespace octet {

// In the place of a page: none.
inline constexpr int32_t kNoPage = -1;

// Parts the cache: sequences of different salts never share a page. Nobody can name a salt that equals another by
// chance or by search (128 bits of a SHA-256).
using CacheSalt = std::array<uint64_t, 2>;
inline constexpr CacheSalt kNoSalt{};
// Of a text of a request's: kNoSalt if it is empty.
CacheSalt cache_salt_of(std::string_view text);

// The full pages form trees, one for each salt: a page's parent holds the tokens before its own. A page is found by its
// salt, its parent and its tokens themselves, a hash only shortens the search, so what is found holds exactly the
// tokens of the whole way. Invariant: whoever holds a page holds its parents, so a page's parents become idle no
// earlier than itself, and the page that is idle longest has no children. Nothing here allocates after the constructor.
// Not thread-safe.
class PrefixCache {
 public:
  explicit PrefixCache(int64_t num_pages);

  // The page of `salt` that holds `tokens` [kPageTokens] behind those of `parent` (kNoPage: at a sequence's start), or
  // kNoPage.
  int32_t find(int32_t parent, std::span<const TokenId> tokens, const CacheSalt& salt) const;
  // `page`, which somebody holds, holds `tokens` behind those of `parent`. REQUIRES: find() names none.
  void insert(int32_t parent, std::span<const TokenId> tokens, int32_t page, const CacheSalt& salt);
  bool contains(int32_t page) const { return entry(page).cached; }

  // Nobody holds a cached page any more: it may be evicted, after those that are idle already.
  void set_idle(int32_t page);
  // Somebody holds an idle page again.
  void set_held(int32_t page);
  bool idle(int32_t page) const { return entry(page).idle; }
  int64_t num_idle() const { return num_idle_; }
  // Forgets the page that is idle longest. REQUIRES: num_idle() > 0.
  int32_t evict();

  // Aborts if the invariant does not hold. Walks over every page.
  void check_invariant() const;

 private:
  struct Entry {
    bool cached = false;
    bool idle = false;
    int32_t parent = kNoPage;
    int32_t next = kNoPage;   // in its bucket
    int32_t older = kNoPage;  // among the idle
    int32_t newer = kNoPage;
    CacheSalt salt = kNoSalt;
  };

  Entry& entry(int32_t page) { return entries_[static_cast<size_t>(page)]; }
  const Entry& entry(int32_t page) const { return entries_[static_cast<size_t>(page)]; }
  std::span<const TokenId> tokens_of(int32_t page) const;
  size_t bucket_of(int32_t parent, std::span<const TokenId> tokens, const CacheSalt& salt) const;

  std::vector<Entry> entries_;    // [num_pages]
  std::vector<TokenId> tokens_;   // [num_pages, kPageTokens], of cached pages
  std::vector<int32_t> buckets_;  // a power of two: the first page of each
  int32_t oldest_ = kNoPage;      // of the idle
  int32_t newest_ = kNoPage;
  int64_t num_idle_ = 0;
};

}  // namespace octet
