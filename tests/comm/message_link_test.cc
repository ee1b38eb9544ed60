// Messages between watchdogs: what goes in comes out, in pieces of any size, and nonsense does no harm.
#include "comm/message_link.h"

#include <gmock/gmock.h>
#include <sys/socket.h>

#include <random>

namespace octet {
namespace {

// Two ends of one connection.
struct Ends {
  Ends() {
    int fds[2] = {-1, -1};
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    one = UniqueFd(fds[0]);
    other = UniqueFd(fds[1]);
  }
  UniqueFd one, other;
};

std::vector<std::byte> random_bytes(size_t size, std::mt19937& random) {
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

TEST(MessageLink, MessagesArriveWholeAndInOrder) {
  Ends ends;
  MessageLink sender(std::move(ends.one)), receiver(std::move(ends.other));
  std::mt19937 random(3);
  std::vector<std::vector<std::byte>> sent;
  for (const size_t size : {0, 1, 4, 4091, 4092, 70'000, 300'000}) {
    sent.push_back(random_bytes(size, random));
    sender.send(MessageType::kFailure, sent.back());
  }
  std::vector<std::vector<std::byte>> received;
  while (received.size() < sent.size() && !receiver.closed()) {
    const auto message = receiver.next();
    if (message && message->type == MessageType::kFailure) received.push_back(message->payload);
    sender.send(MessageType::kBeat, {});  // pushes what the connection has not taken so far
  }
  EXPECT_EQ(received, sent);
}

TEST(MessageLink, HeartbeatsDoNotPileUpWhereNobodyListens) {
  Ends ends;
  MessageLink sender(std::move(ends.one)), receiver(std::move(ends.other));
  const std::vector<std::byte> beat(1000);
  for (int i = 0; i < 10'000; ++i) sender.send(MessageType::kBeat, beat);
  sender.send(MessageType::kGoodbye, {});
  int num_beats = 0;
  for (std::optional<Message> message; !message || message->type != MessageType::kGoodbye;) {
    message = receiver.next();
    ASSERT_TRUE(message) << "what is no heartbeat arrives";
    num_beats += message->type == MessageType::kBeat ? 1 : 0;
    sender.send(MessageType::kHello, {});  // pushes what the connection has not taken so far
  }
  EXPECT_GT(num_beats, 0);
  EXPECT_LT(num_beats, 5'000);
}

TEST(MessageLink, MessagesBeforeTheEndAreTaken) {
  Ends ends;
  MessageLink receiver(std::move(ends.other));
  {
    MessageLink sender(std::move(ends.one));
    sender.send(MessageType::kBeat, {});
    sender.send(MessageType::kGoodbye, {});
  }
  EXPECT_EQ(receiver.next()->type, MessageType::kBeat);
  EXPECT_EQ(receiver.next()->type, MessageType::kGoodbye);
  EXPECT_FALSE(receiver.next());
  EXPECT_TRUE(receiver.closed());
}

TEST(MessageLink, NonsenseClosesTheLink) {
  std::mt19937 random(5);
  for (int round = 0; round < 200; ++round) {
    Ends ends;
    MessageLink receiver(std::move(ends.other));
    const auto garbage = random_bytes(1 + random() % 300, random);
    ASSERT_EQ(send(ends.one.get(), garbage.data(), garbage.size(), 0), static_cast<ssize_t>(garbage.size()));
    ends.one.reset();
    while (receiver.next()) continue;
    EXPECT_TRUE(receiver.closed());
  }
}

ProgressReport example_report() {
  ProgressReport report;
  report.place = {77, 31, Phase::kCombine, true, CollectiveKind::kAllToAllV, 1, 9, 1U << 20, 3, 7, 2};
  report.groups = {{11, {0, 1, 2, 3}, 5}, {12, {1, 3}, 9}};
  return report;
}

TEST(Beat, ReportSurvivesTheTrip) {
  const auto report = unpack_report(pack_report(example_report()));
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(describe(*report), describe(example_report()));
  EXPECT_EQ(report->place.events, 77);
  EXPECT_TRUE(report->place.idle);
  EXPECT_EQ(report->groups[1].key, 12);
  EXPECT_EQ(report->groups[0].entered, 5);
  const auto failure = unpack_failure(pack_failure({2, 6, "a bad shard"}));
  ASSERT_TRUE(failure.ok());
  EXPECT_EQ(failure->exit_code, 2);
  EXPECT_EQ(failure->rank, 6);
  EXPECT_EQ(failure->line, "a bad shard");
}

TEST(Beat, DamagedReportsAreErrors) {
  const std::vector<std::byte> good = pack_report(example_report());
  for (size_t size = 0; size < good.size(); ++size) {
    const auto report = unpack_report(std::span(good).first(size));
    const bool at_group_border = size >= good.size() - 5 * 8;  // without the last group it is one of fewer groups
    EXPECT_FALSE(report.ok() && !at_group_border) << size;
  }
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::byte> damaged = good;
    damaged[random() % damaged.size()] = static_cast<std::byte>(random());
    const auto report = unpack_report(damaged);
    EXPECT_TRUE(!report.ok() || !describe(*report).empty());
  }
}

}  // namespace
}  // namespace octet
