#include "runtime/engine/page_allocator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace octet {
namespace {

TEST(PageAllocator, ExtendsByWholePagesAllOrNothing) {
  PageAllocator allocator(4, /*caches_prefixes=*/false);
  const SequenceId a{1, 0};
  const SequenceId b{2, 0};
  EXPECT_TRUE(allocator.extend(a, 1));
  EXPECT_EQ(allocator.pages(a).size(), 1U);
  EXPECT_TRUE(allocator.extend(a, kPageTokens));
  EXPECT_EQ(allocator.num_free(), 3);
  const int32_t first = allocator.pages(a)[0];
  EXPECT_TRUE(allocator.extend(a, kPageTokens + 1));
  EXPECT_EQ(allocator.pages(a)[0], first);
  EXPECT_FALSE(allocator.extend(b, 2 * kPageTokens + 1));
  EXPECT_TRUE(allocator.pages(b).empty());
  EXPECT_EQ(allocator.num_free(), 2);
  EXPECT_TRUE(allocator.extend(b, 2 * kPageTokens));
  EXPECT_FALSE(allocator.extend(a, 2 * kPageTokens + 1));
  allocator.release(b);
  EXPECT_TRUE(allocator.extend(a, 4 * kPageTokens));
  allocator.check_invariant();
}

TEST(PageAllocator, ExtendsAsFarAsPagesAreFreeAndTrims) {
  PageAllocator allocator(4, /*caches_prefixes=*/true);
  const SequenceId a{1, 0};
  const SequenceId b{2, 0};
  const std::vector<TokenId> tokens(static_cast<size_t>(kPageTokens), 7);
  ASSERT_TRUE(allocator.extend(b, kPageTokens));
  allocator.cache(b, tokens, 0, kNoSalt);
  allocator.release(b);
  ASSERT_TRUE(allocator.extend(a, 1));
  EXPECT_EQ(allocator.extend_if_free(a, 10), 10);
  EXPECT_EQ(allocator.pages(a).size(), 1U);
  EXPECT_EQ(allocator.extend_if_free(a, kPageTokens + 1), kPageTokens + 1);
  EXPECT_EQ(allocator.extend_if_free(a, 4 * kPageTokens), 3 * kPageTokens) << "took the cached page";
  const std::vector<int32_t> pages(allocator.pages(a).begin(), allocator.pages(a).end());
  allocator.trim(a, kPageTokens);
  EXPECT_EQ(allocator.pages(a).size(), 1U);
  EXPECT_EQ(allocator.num_free(), 3);
  allocator.check_invariant();
  EXPECT_EQ(allocator.extend_if_free(a, 3 * kPageTokens), 3 * kPageTokens);
  EXPECT_TRUE(std::ranges::equal(allocator.pages(a), pages));
  EXPECT_EQ(allocator.find_prefix(tokens, kNoSalt).num_pages, 1);
}

TEST(PageAllocator, SharedPagesAreFreeWhenTheLastHolderLeaves) {
  PageAllocator allocator(6, /*caches_prefixes=*/false);
  const SequenceId parent{1, 0};
  const SequenceId child{1, 1};
  ASSERT_TRUE(allocator.extend(parent, 3 * kPageTokens));
  allocator.share(parent, child, 2);
  EXPECT_EQ(allocator.num_free(), 3);
  ASSERT_TRUE(allocator.extend(child, 3 * kPageTokens));
  EXPECT_EQ(allocator.pages(child)[1], allocator.pages(parent)[1]);
  EXPECT_NE(allocator.pages(child)[2], allocator.pages(parent)[2]);
  allocator.check_invariant();
  allocator.release(parent);
  EXPECT_EQ(allocator.num_free(), 3);
  allocator.check_invariant();
  allocator.release(child);
  EXPECT_EQ(allocator.num_free(), 6);
  allocator.release(child);  // holds nothing any more
  EXPECT_EQ(allocator.num_free(), 6);
}

TEST(PageAllocator, KeepsItsInvariantUnderRandomUse) {
  std::mt19937_64 rng(29);
  PageAllocator allocator(50, /*caches_prefixes=*/false);
  for (int round = 0; round < 5000; ++round) {
    const SequenceId id{rng() % 12, static_cast<int32_t>(rng() % 2)};
    const SequenceId other{id.request, 1 - id.sample};
    const int64_t held = std::ssize(allocator.pages(id));
    switch (rng() % 4) {
      case 0:
        allocator.release(id);
        break;
      case 1:
        if (held > 0 && allocator.pages(other).empty()) allocator.share(id, other, static_cast<int64_t>(rng() % held));
        break;
      default: {
        const auto num_tokens = static_cast<int64_t>(rng() % (12 * kPageTokens));
        const int64_t num_free = allocator.num_free();
        const bool fits = pages_for(num_tokens) - held <= num_free;
        ASSERT_EQ(allocator.extend(id, num_tokens), fits);
        ASSERT_EQ(allocator.num_free(),
                  fits ? num_free - std::max<int64_t>(0, pages_for(num_tokens) - held) : num_free);
      }
    }
    allocator.check_invariant();
  }
}

}  // namespace
}  // namespace octet
