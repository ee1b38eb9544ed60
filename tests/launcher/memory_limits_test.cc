// What octet does where memory is short: in a control group, under ulimit, and asked for more than there is.
#include <cstdio>

#include "runtime/base/control_groups.h"
#include "tests/launcher/run_job.h"

namespace octet::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// What a process of octet holds once it is loaded: cuBLAS relocates 100 MB of itself, of 1 GB of addresses.
#ifdef OCTET_LINKS_CUDA
constexpr int64_t kLoadedBytes = 110'000'000;
constexpr int64_t kLoadedAddresses = 1'100'000'000;
#else
constexpr int64_t kLoadedBytes = 3'000'000;
constexpr int64_t kLoadedAddresses = 100'000'000;
#endif

// A control group of its own, below the tests', with so much memory; none where the machine does not let us.
class MemoryGroup {
 public:
  explicit MemoryGroup(int64_t bytes) {
    for (const ControlGroup& group : control_groups(KernelFiles(), "memory")) {
      const std::filesystem::path folder = "/" + group.folder + "/octet-test-" + std::to_string(::getpid());
      if (::mkdir(folder.c_str(), 0755) != 0) continue;
      for (const char* limit : {"memory.limit_in_bytes", "memory.max"}) {
        if (std::filesystem::exists(folder / limit) && put(folder / limit, std::to_string(bytes))) {
          folder_ = folder;
          return;
        }
      }
      ::rmdir(folder.c_str());
    }
  }
  ~MemoryGroup() {
    for (int i = 0; exists() && ::rmdir(folder_.c_str()) != 0 && i < 100; ++i) ::usleep(10'000);
  }
  MemoryGroup(const MemoryGroup&) = delete;
  MemoryGroup& operator=(const MemoryGroup&) = delete;

  bool exists() const { return !folder_.empty(); }
  // What runs in it.
  Launch inside() const {
    return {.wrapper = {"/bin/sh", "-c", "echo $$ > " + (folder_ / "cgroup.procs").string() + " && exec \"$@\"", "sh"}};
  }

 private:
  static bool put(const std::filesystem::path& path, const std::string& text) {
    std::ofstream file(path);
    return static_cast<bool>(file << text << std::flush);
  }

  std::filesystem::path folder_;
};

// So much of it beyond the program's own.
Launch with_address_space(int64_t bytes) {
  const std::string kilobytes = std::to_string((kLoadedAddresses + bytes) / 1024);
  return {.wrapper = {"/bin/sh", "-c", "ulimit -v " + kilobytes + " && exec \"$@\"", "sh"}};
}

const std::vector<std::string> kShort = {"generate", "In the beginning", "--temperature", "0", "--max-tokens", "12"};

TEST(MemoryLimits, MoreThanTheMachineHasIsRefusedAtOnce) {
  expect_refused(kShort + std::vector<std::string>{"--kv-cache", "20T"}, {"22.0 TB", "this machine has", "would fit"});
}

class ControlGroupTest : public JobTest {
 protected:
  void SetUp() override {
    JobTest::SetUp();
    if (!IsSkipped() && !group_.exists()) {
      GTEST_SKIP() << "A CONTROL GROUP'S MEMORY IS NOT TESTED HERE: that needs root and a writable /sys/fs/cgroup";
    }
  }

  const MemoryGroup group_{240'000'000 + 3 * kLoadedBytes};  // `octet run` and two ranks
};

TEST_F(ControlGroupTest, TheModelRunsWithinIt) { EXPECT_EQ(output_of(kShort, group_.inside()), output_of(kShort)); }

// More tokens than the cache holds, so that all of it is touched.
TEST_F(ControlGroupTest, LongAFullCacheStaysWithinIt) {
  const TempFolder folder;
  std::string requests;
  for (int i = 0; i < 24; ++i)
    requests += R"({"prompt": "In the beginning", "max_tokens": 400, "ignore_eos": true})"
                "\n";
  write_file(folder / "requests", requests);
  const Outcome outcome =
      run_octet({"generate", "--input", folder / "requests", "--output", folder / "answers"}, group_.inside());
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(lines_of(read_file(folder / "answers")), SizeIs(24));
}

TEST_F(ControlGroupTest, ACacheThatItDoesNotHoldIsRefusedWithBothNumbers) {
  expect_refused(kShort + std::vector<std::string>{"--kv-cache", "6G"},
                 {"KV cache 6.4 GB", "control group /", " MB free", "would fit"}, group_.inside());
}

TEST_F(ControlGroupTest, ItsRanksShareIt) {
  EXPECT_EQ(output_of(on_ranks(2, kShort), group_.inside()), output_of(kShort));
  const Outcome outcome =
      run_octet(on_ranks(2, kShort + std::vector<std::string>{"--kv-cache", "110M"}), group_.inside());
  EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("control group /"), HasSubstr("KV cache 1")));
}

TEST(MemoryLimits, ACacheBeyondTheAddressSpaceIsRefused) {
  expect_refused(kShort + std::vector<std::string>{"--kv-cache", "4G"}, {"KV cache 4.3 GB", "ulimit -v has"},
                 with_address_space(4'000'000'000));
}

// Its ids take many times the memory of the text, which nobody can know before they are made.
TEST(MemoryLimits, OutOfMemoryWhileItRunsIsOneLine) {
  const TempFolder folder;
  write_file(folder / "long.txt", std::string(100'000'000, 'a'));
  const Outcome outcome = run_octet({"tokenize", "--file", folder / "long.txt"}, with_address_space(400'000'000));
  EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
  ASSERT_THAT(lines_of(outcome.err), SizeIs(1)) << outcome.err;
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("out of memory"), HasSubstr("ulimit -v has")));
}

}  // namespace
}  // namespace octet::testing
