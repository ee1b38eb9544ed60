// Thousands of requests leave nothing behind: memory and descriptors stay what they were.
#include <random>

#include "tests/service/process_figures.h"
#include "tests/service/serve_job.h"

namespace octet::testing {
namespace {

// Answers of several lengths, some with samples, some refused, some given up in the middle.
void serve_many(const ServeJob& job, int count, uint64_t seed) {
  constexpr size_t kAtOnce = 12;
  std::mt19937_64 random(seed);
  const auto below = [&random](uint64_t bound) { return random() % bound; };
  for (int begun = 0; begun < count;) {
    Streams streams(job.client());  // a connection of its own, too
    for (size_t i = 0; i < 60 && begun < count; ++i, ++begun) {
      std::vector<TokenId> prompt(1 + below(100));
      for (TokenId& token : prompt) token = static_cast<TokenId>(below(4096));
      ClientCall call;
      call.input = std::move(prompt);
      call.params.ignore_eos = true;
      call.params.max_tokens = 1 + below(8);
      call.params.num_samples = below(20) == 0 ? 3 : 1;
      if (below(20) == 0) call.params.sampling.top_p = 7;  // refused
      const bool give_up = below(10) == 0;
      if (give_up) call.params.max_tokens = 2000;
      streams.begin(call);
      if (give_up) streams.cancel(i);
      ASSERT_TRUE(streams.listen_until([&] { return streams.client().num_streams() < kAtOnce; }));
    }
    ASSERT_TRUE(streams.listen_to_the_end());
  }
}

// The first requests touch the pages of the KV cache, of which there are few, and fill the allocator's arenas.
void expect_flat(int warm_up, int count) {
  const ServeJob job({.flags = {"--kv-cache", "16M", "--max-context", "2048"}});
  serve_many(job, warm_up, 1);
  const ProcessFigures before = figures_of(job.process());
  serve_many(job, count, 2);
  EXPECT_LT(figures_of(job.process()).resident_bytes, before.resident_bytes + (4 << 20))
      << "after " << count << " requests more";
  EXPECT_TRUE(comes_true([&] { return figures_of(job.process()).descriptors <= before.descriptors; }))
      << figures_of(job.process()).descriptors << " descriptors instead of " << before.descriptors;
}

TEST(Growth, HundredsOfRequestsLeaveNothingBehind) { expect_flat(300, 300); }

TEST(Growth, LongTenThousandRequestsLeaveNothingBehind) { expect_flat(1000, 10'000); }

}  // namespace
}  // namespace octet::testing
