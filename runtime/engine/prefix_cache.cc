#include "runtime/engine/prefix_cache.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "runtime/base/check.h"
#include "runtime/base/sha256.h"

namespace octet {

CacheSalt cache_salt_of(std::string_view text) {
  CacheSalt salt = kNoSalt;
  if (text.empty()) return salt;
  const Sha256 hash = sha256(text);
  std::memcpy(salt.data(), hash.data(), sizeof(salt));
  return salt;
}

PrefixCache::PrefixCache(int64_t num_pages)
    : entries_(static_cast<size_t>(num_pages)),
      tokens_(static_cast<size_t>(num_pages * kPageTokens)),
      buckets_(std::bit_ceil(static_cast<size_t>(num_pages)), kNoPage) {}

int32_t PrefixCache::find(int32_t parent, std::span<const TokenId> tokens, const CacheSalt& salt) const {
  const auto matches = [&](int32_t page) {
    return entry(page).parent == parent && entry(page).salt == salt && std::ranges::equal(tokens_of(page), tokens);
  };
  int32_t page = buckets_[bucket_of(parent, tokens, salt)];
  while (page != kNoPage && !matches(page)) page = entry(page).next;
  return page;
}

void PrefixCache::insert(int32_t parent, std::span<const TokenId> tokens, int32_t page, const CacheSalt& salt) {
  OCTET_CHECK(std::ssize(tokens) == kPageTokens && !contains(page));
  int32_t& bucket = buckets_[bucket_of(parent, tokens, salt)];
  entry(page) = {.cached = true, .parent = parent, .next = bucket, .salt = salt};
  bucket = page;
  std::ranges::copy(tokens, tokens_.begin() + page * kPageTokens);
}

void PrefixCache::set_idle(int32_t page) {
  OCTET_CHECK(contains(page) && !idle(page), "page {}", page);
  Entry& added = entry(page);
  added.idle = true;
  added.older = newest_;
  added.newer = kNoPage;
  (newest_ == kNoPage ? oldest_ : entry(newest_).newer) = page;
  newest_ = page;
  ++num_idle_;
}

void PrefixCache::set_held(int32_t page) {
  OCTET_CHECK(idle(page), "page {}", page);
  Entry& taken = entry(page);
  taken.idle = false;
  (taken.older == kNoPage ? oldest_ : entry(taken.older).newer) = taken.newer;
  (taken.newer == kNoPage ? newest_ : entry(taken.newer).older) = taken.older;
  --num_idle_;
}

int32_t PrefixCache::evict() {
  OCTET_CHECK(num_idle_ > 0, "no page is idle");
  const int32_t page = oldest_;
  set_held(page);
  int32_t* link = &buckets_[bucket_of(entry(page).parent, tokens_of(page), entry(page).salt)];
  while (*link != page) link = &entry(*link).next;
  *link = entry(page).next;
  entry(page) = {};
  return page;
}

void PrefixCache::check_invariant() const {
  for (const Entry& child : entries_) {
    if (!child.cached || child.parent == kNoPage) continue;
    OCTET_CHECK(contains(child.parent), "the parent {} of a cached page is not cached", child.parent);
    OCTET_CHECK(child.salt == entry(child.parent).salt, "the parent {} has another salt", child.parent);
    OCTET_CHECK(child.idle || !idle(child.parent), "the parent {} of a page that is held is idle", child.parent);
  }
  std::vector<bool> seen(entries_.size());
  int64_t num_seen = 0;
  for (int32_t page = oldest_; page != kNoPage; page = entry(page).newer, ++num_seen) {
    const int32_t parent = entry(page).parent;
    OCTET_CHECK(idle(page) && (parent == kNoPage || !seen[static_cast<size_t>(parent)]),
                "page {} would be evicted after its parent", page);
    seen[static_cast<size_t>(page)] = true;
  }
  OCTET_CHECK(num_seen == num_idle_, "{} of {} idle pages are listed", num_seen, num_idle_);
}

std::span<const TokenId> PrefixCache::tokens_of(int32_t page) const {
  return std::span(tokens_).subspan(static_cast<size_t>(page * kPageTokens), static_cast<size_t>(kPageTokens));
}

size_t PrefixCache::bucket_of(int32_t parent, std::span<const TokenId> tokens, const CacheSalt& salt) const {
  uint64_t hash = static_cast<uint32_t>(parent) ^ salt[0];
  for (const TokenId token : tokens) {
    hash = (hash ^ static_cast<uint32_t>(token)) * 0x9E3779B97F4A7C15U;
    hash ^= hash >> 32;
  }
  return hash & (buckets_.size() - 1);
}

}  // namespace octet
