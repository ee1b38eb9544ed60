// What an address wastes it waits for, with all its connections, and nobody else does.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mutex>
#include <thread>
#include <vector>

#include "runtime/gate/address_account.h"
#include "runtime/gate/gate.h"
#include "tests/service/raw_client.h"

namespace octet::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr const char* kAttacker = "127.0.0.2";
constexpr size_t kFrames = 20'000;

std::string settings(size_t count) {
  std::string frames;
  for (size_t i = 0; i < count; ++i) frames += make_frame(FrameType::kSettings, 0, 0, "");
  return frames;
}

// A gate before a library that greets and listens.
class Waste : public ::testing::Test {
 protected:
  void SetUp() override {
    auto gate = Gate::open({.listen = *parse_listen_address("127.0.0.1:0")});
    ASSERT_TRUE(gate.ok());
    gate_ = *std::move(gate);
    gate_->start([this](int descriptor) {
      ASSERT_TRUE(::write(descriptor, settings(1).data(), kFrameHeadBytes) > 0);
      ::fcntl(descriptor, F_SETFL, ::fcntl(descriptor, F_GETFL) | O_NONBLOCK);
      const std::lock_guard lock(mutex_);
      library_.push_back(descriptor);
    });
  }
  void TearDown() override {
    gate_.reset();
    std::ranges::for_each(library_, ::close);
  }

  // What has reached the library until now, in bytes.
  size_t num_bytes_heard() {
    const std::lock_guard lock(mutex_);
    char bytes[4096];
    for (const int descriptor : library_) {
      for (ssize_t size = 0; (size = ::read(descriptor, bytes, sizeof(bytes))) > 0;)
        heard_ += static_cast<size_t>(size);
    }
    return heard_;
  }
  bool hears(size_t num_bytes) {
    const auto end = Clock::now() + seconds(30);
    while (num_bytes_heard() < num_bytes && Clock::now() < end) std::this_thread::sleep_for(milliseconds(5));
    return num_bytes_heard() >= num_bytes;
  }
  // The most of SETTINGS that an address may have sent on since `begin`, on so many connections.
  static double most_since(Clock::time_point begin, size_t num_connections) {
    const double elapsed = std::chrono::duration<double>(Clock::now() - begin).count();
    return waste::kMost + waste::kRate * elapsed + waste::kAtOnce * static_cast<double>(num_connections);
  }
  std::string address() const { return gate_->address().text(); }

  std::unique_ptr<Gate> gate_;
  std::mutex mutex_;  // guards what follows
  std::vector<int> library_;
  size_t heard_ = 0;
};

TEST_F(Waste, FloodsOfFramesComeNoFasterThanTheyArePaid) {
  const auto begin = Clock::now();
  RawClient flood(address(), kAttacker);
  ASSERT_TRUE(flood.greet());
  std::thread sender([&] { flood.send(settings(kFrames)); });
  ASSERT_TRUE(hears(kPreface.size() + kFrameHeadBytes * static_cast<size_t>(waste::kMost)));
  std::this_thread::sleep_for(seconds(1));
  EXPECT_LE(static_cast<double>((num_bytes_heard() - kPreface.size()) / kFrameHeadBytes), most_since(begin, 1));
  sender.join();
}

// Nor does another address wait.
TEST_F(Waste, AnotherConnectionOwesWhatTheFirstDid) {
  const auto begin = Clock::now();
  const size_t connections = 20;
  for (size_t i = 0; i < connections; ++i) {  // one after the other: none is there when the next comes
    RawClient flood(address(), kAttacker);
    if (flood.greet()) flood.send(settings(500));
    if (i == 0) {
      ASSERT_TRUE(hears(kPreface.size() + kFrameHeadBytes * static_cast<size_t>(waste::kMost)));
    }
    std::this_thread::sleep_for(milliseconds(20));
  }
  const size_t greetings = connections * kPreface.size();
  EXPECT_LE(static_cast<double>((num_bytes_heard() - std::min(greetings, num_bytes_heard())) / kFrameHeadBytes),
            most_since(begin, connections));
  RawClient honest(address(), "127.0.0.3");
  ASSERT_TRUE(honest.greet());
  EXPECT_EQ(honest.read_until(settings(1)), settings(1));
}

// Also with a connection of its own for each.
TEST_F(Waste, WhoBreaksRulesWaitsForTheNextConnection) {
  const std::string broken = std::string(kPreface) + make_frame(FrameType::kData, 0, 1, "a");
  const int faults = 15;
  const auto begin = Clock::now();
  for (int i = 0; i < faults; ++i) {
    RawClient client(address(), kAttacker);
    ASSERT_TRUE(client.send(broken));
    EXPECT_TRUE(client.is_ended_within(seconds(30)));
  }
  const double owed = (faults - 1) * waste::kFault - waste::kMost;  // by the last one, which waits for it
  EXPECT_GE(std::chrono::duration<double>(Clock::now() - begin).count(), owed / waste::kRate);
}

}  // namespace
}  // namespace octet::testing
