// Thousands of requests leave nothing behind: memory and descriptors stay what they were.
#include <random>

#include "tests/service/serve_job.h"

namespace octet::testing {
namespace {

int64_t resident_bytes(pid_t process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/statm");
  int64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

int64_t num_descriptors(pid_t process) {
  const std::filesystem::directory_iterator folder("/proc/" + std::to_string(process) + "/fd");
  return std::distance(begin(folder), end(folder));
}

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
      GenerateCall call;
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
  const int64_t bytes = resident_bytes(job.process());
  const int64_t descriptors = num_descriptors(job.process());
  serve_many(job, count, 2);
  EXPECT_LT(resident_bytes(job.process()), bytes + (4 << 20)) << "after " << count << " requests more";
  EXPECT_TRUE(comes_true([&] { return num_descriptors(job.process()) <= descriptors; }))
      << num_descriptors(job.process()) << " descriptors instead of " << descriptors;
}

TEST(Growth, HundredsOfRequestsLeaveNothingBehind) { expect_flat(300, 300); }

TEST(Growth, LongTenThousandRequestsLeaveNothingBehind) { expect_flat(1000, 10'000); }

}  // namespace
}  // namespace octet::testing
