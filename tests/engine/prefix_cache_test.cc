#include "runtime/engine/prefix_cache.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <utility>

#include "runtime/engine/page_allocator.h"

namespace octet {
namespace {

std::vector<TokenId> page_of(TokenId token) { return std::vector<TokenId>(static_cast<size_t>(kPageTokens), token); }

TEST(PrefixCache, FindsAPageByEverythingBeforeIt) {
  PrefixCache cache(8);
  cache.insert(kNoPage, page_of(1), 3, kNoSalt);
  cache.insert(kNoPage, page_of(2), 5, kNoSalt);
  cache.insert(3, page_of(7), 4, kNoSalt);
  EXPECT_EQ(cache.find(kNoPage, page_of(1), kNoSalt), 3);
  EXPECT_EQ(cache.find(kNoPage, page_of(2), kNoSalt), 5);
  EXPECT_EQ(cache.find(3, page_of(7), kNoSalt), 4);
  EXPECT_EQ(cache.find(5, page_of(7), kNoSalt), kNoPage) << "the same tokens behind other ones";
  EXPECT_EQ(cache.find(kNoPage, page_of(7), kNoSalt), kNoPage);
  std::vector<TokenId> last_differs = page_of(1);
  last_differs.back() = 2;
  EXPECT_EQ(cache.find(kNoPage, last_differs, kNoSalt), kNoPage);
}

TEST(PrefixCache, SequencesOfOtherSaltsFindNothing) {
  PrefixCache cache(8);
  const CacheSalt mine = cache_salt_of("mine"), other = cache_salt_of("other");
  EXPECT_EQ(cache_salt_of(""), kNoSalt);
  cache.insert(kNoPage, page_of(1), 3, mine);
  cache.insert(3, page_of(2), 4, mine);
  cache.insert(kNoPage, page_of(1), 5, kNoSalt);
  EXPECT_EQ(cache.find(kNoPage, page_of(1), mine), 3);
  EXPECT_EQ(cache.find(3, page_of(2), mine), 4);
  EXPECT_EQ(cache.find(kNoPage, page_of(1), kNoSalt), 5);
  EXPECT_EQ(cache.find(5, page_of(2), kNoSalt), kNoPage);
  EXPECT_EQ(cache.find(kNoPage, page_of(1), other), kNoPage);
  for (const int32_t page : {5, 4, 3}) cache.set_idle(page);
  EXPECT_EQ(cache.evict(), 5);
  EXPECT_EQ(cache.find(kNoPage, page_of(1), mine), 3);
  cache.check_invariant();
}

TEST(PrefixCache, EvictsWhatIsIdleLongest) {
  PrefixCache cache(4);
  for (int32_t page = 0; page < 4; ++page) {
    cache.insert(kNoPage, page_of(page), page, kNoSalt);
    cache.set_idle(page);
  }
  cache.set_held(1);
  cache.set_held(0);
  cache.set_idle(0);  // the newest now
  EXPECT_EQ(cache.num_idle(), 3);
  EXPECT_EQ(cache.evict(), 2);
  EXPECT_EQ(cache.find(kNoPage, page_of(2), kNoSalt), kNoPage);
  EXPECT_EQ(cache.evict(), 3);
  EXPECT_EQ(cache.evict(), 0);
  EXPECT_EQ(cache.num_idle(), 0);
  EXPECT_EQ(cache.find(kNoPage, page_of(1), kNoSalt), 1);
}

// With few pages, and so few buckets, hashes collide all the time.
TEST(PrefixCache, AgreesWithAMapUnderRandomUse) {
  std::mt19937_64 rng(41);
  constexpr int32_t kPages = 6;
  PrefixCache cache(kPages);
  std::map<std::pair<int32_t, TokenId>, int32_t> reference;
  int num_evicted = 0;
  for (int round = 0; round < 20'000; ++round) {
    const auto parent = static_cast<int32_t>(rng() % (kPages + 1)) - 1;
    const auto token = static_cast<TokenId>(rng() % 5);
    const auto page = static_cast<int32_t>(rng() % kPages);
    const auto it = reference.find({parent, token});
    ASSERT_EQ(cache.find(parent, page_of(token), kNoSalt), it == reference.end() ? kNoPage : it->second);
    if (it == reference.end() && page > parent && !cache.contains(page) && (parent < 0 || cache.contains(parent))) {
      cache.insert(parent, page_of(token), page, kNoSalt);
      reference[{parent, token}] = page;
    } else if (rng() % 30 == 0) {  // everything is given up, children first, and evicted
      for (int32_t idle = kPages - 1; idle >= 0; --idle) {
        if (cache.contains(idle)) cache.set_idle(idle);
      }
      cache.check_invariant();
      for (; cache.num_idle() > 0; ++num_evicted) {
        const int32_t evicted = cache.evict();
        ASSERT_EQ(std::erase_if(reference, [evicted](const auto& entry) { return entry.second == evicted; }), 1U);
      }
      ASSERT_TRUE(reference.empty());
    }
  }
  EXPECT_GT(num_evicted, 100);
}

std::vector<TokenId> counted_tokens(int64_t count) {
  std::vector<TokenId> tokens(static_cast<size_t>(count));
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<TokenId>(i % 50);
  return tokens;
}

TEST(PageAllocatorCache, KeepsFullPagesUntilOthersNeedThem) {
  PageAllocator allocator(6, /*caches_prefixes=*/true);
  const SequenceId a{1, 0};
  const SequenceId b{2, 0};
  const std::vector<TokenId> tokens = counted_tokens(3 * kPageTokens + 10);
  ASSERT_TRUE(allocator.extend(a, std::ssize(tokens)));
  const std::vector<int32_t> pages(allocator.pages(a).begin(), allocator.pages(a).end());
  allocator.cache(a, tokens, 0, kNoSalt);
  EXPECT_EQ(allocator.find_prefix(tokens, kNoSalt).num_pages, 3);
  EXPECT_EQ(allocator.find_prefix(tokens, kNoSalt).num_idle, 0);
  allocator.release(a);
  allocator.check_invariant();
  EXPECT_EQ(allocator.num_free(), 6);
  EXPECT_EQ(allocator.num_idle(), 3);
  EXPECT_EQ(allocator.find_prefix(tokens, kNoSalt).num_idle, 3);

  // Three pages are free; the fourth evicts the cached page that is the furthest from the root.
  ASSERT_TRUE(allocator.extend(b, 4 * kPageTokens));
  EXPECT_EQ(allocator.num_evictions(), 1);
  EXPECT_EQ(allocator.find_prefix(tokens, kNoSalt).num_pages, 2);
  EXPECT_EQ(allocator.use_cached(a, tokens, 0, kNoSalt), 2);
  EXPECT_EQ(std::vector<int32_t>(allocator.pages(a).begin(), allocator.pages(a).end()),
            std::vector<int32_t>(pages.begin(), pages.begin() + 2));
  EXPECT_FALSE(allocator.extend(a, 3 * kPageTokens)) << "took pages that are held";
  allocator.check_invariant();
}

TEST(PageAllocatorCache, EqualPagesBecomeOne) {
  PageAllocator allocator(10, /*caches_prefixes=*/true);
  const SequenceId a{1, 0};
  const SequenceId b{2, 0};
  const std::vector<TokenId> tokens = counted_tokens(2 * kPageTokens + 1);
  for (const SequenceId id : {a, b}) {
    ASSERT_TRUE(allocator.extend(id, std::ssize(tokens)));
    allocator.cache(id, tokens, 0, kNoSalt);
    allocator.check_invariant();
  }
  EXPECT_EQ(allocator.num_free(), 10 - 4);
  EXPECT_EQ(allocator.pages(a)[1], allocator.pages(b)[1]);
  EXPECT_NE(allocator.pages(a)[2], allocator.pages(b)[2]);
}

TEST(PageAllocatorCache, RemembersNothingUnlessAsked) {
  PageAllocator allocator(4, /*caches_prefixes=*/false);
  const SequenceId a{1, 0};
  const std::vector<TokenId> tokens = counted_tokens(2 * kPageTokens);
  ASSERT_TRUE(allocator.extend(a, std::ssize(tokens)));
  allocator.cache(a, tokens, 0, kNoSalt);
  allocator.release(a);
  EXPECT_EQ(allocator.find_prefix(tokens, kNoSalt).num_pages, 0);
  EXPECT_EQ(allocator.use_cached(a, tokens, 0, kNoSalt), 0);
  EXPECT_EQ(allocator.num_idle(), 0);
  allocator.check_invariant();
}

}  // namespace
}  // namespace octet
