// How watchdogs find each other where a call is late, lost or a stranger's. The test plays one of the ranks.
#include "comm/watch_links.h"

#include <gmock/gmock.h>
#include <poll.h>

#include <chrono>
#include <future>

#include "comm/agreement.h"
#include "comm/pack.h"
#include "comm/thread_comm.h"

namespace octet {
namespace {

using std::chrono::milliseconds;
using testing::UnorderedElementsAre;

constexpr milliseconds kEnough{60'000};

// The next message; of type kGoodbye if the other end closes the connection instead.
Message await_message(MessageLink& link) {
  while (true) {
    if (auto message = link.next()) return *std::move(message);
    if (link.closed()) return {MessageType::kGoodbye, {}};
    pollfd poll_fd{link.fd(), POLLIN, 0};
    poll(&poll_fd, 1, static_cast<int>(kEnough.count()));
  }
}

struct Place {
  uint64_t secret = 0;
  uint16_t port = 0;
};

// What connect_watchdogs does on a rank before it calls: where rank 0 is.
Place hear_invitation(CommWorld& world) {
  const std::string loopback = loopback_identity();
  world.host().gather(std::as_bytes(std::span(loopback)), 0);
  std::vector<std::byte> bytes;
  world.host().broadcast(bytes, 0);
  Unpacker unpacker(bytes);
  const uint64_t secret = unpacker.number();
  return {secret, static_cast<uint16_t>(unpacker.number())};
}

MessageLink connect_to(const Place& place) {
  auto socket = connect_tcp("127.0.0.1", place.port, kEnough);
  EXPECT_TRUE(socket.ok()) << socket.status().message();
  return MessageLink(*std::move(socket));
}

Message hello_of(const Place& place, int rank) { return {MessageType::kHello, pack_hello({place.secret, rank})}; }

// What the other end says to `message`.
Message answer_to(MessageLink& link, const Message& message) {
  link.send(message.type, message.payload);
  return await_message(link);
}

TEST(WatchLinks, RankThatCallsAgainIsTakenWhoeverElseCalls) {
  std::promise<void> last_caller_may_call;
  const Status status = ThreadWorld::run(3, [&](CommWorld& world) -> Status {
    if (world.rank() == 0) {
      auto links = connect_watchdogs(world, "");
      if (!links.ok()) return links.status();
      std::vector<int> ranks;
      for (RankLink& other : *links) {
        ranks.push_back(other.rank);
        other.link.send(MessageType::kBeat, {});
      }
      EXPECT_THAT(ranks, UnorderedElementsAre(1, 2));
      return ok_status();
    }
    const Place place = hear_invitation(world);
    if (world.rank() == 1) last_caller_may_call.get_future().wait();
    const MessageLink silent = connect_to(place);
    MessageLink call = connect_to(place);
    if (world.rank() == 2) {
      EXPECT_EQ(answer_to(call, hello_of({place.secret + 1, place.port}, 2)).type, MessageType::kGoodbye);
      call = connect_to(place);
      EXPECT_EQ(answer_to(call, hello_of(place, 2)).type, MessageType::kHello);
      call = connect_to(place);
    }
    EXPECT_EQ(answer_to(call, hello_of(place, world.rank())).type, MessageType::kHello);
    if (world.rank() == 2) last_caller_may_call.set_value();
    OCTET_RETURN_IF_ERROR(agree(world, ok_status()));
    EXPECT_EQ(await_message(call).type, MessageType::kBeat);
    return ok_status();
  });
  EXPECT_TRUE(status.ok()) << status.message();
}

TEST(WatchLinks, RankThatIsNotAnsweredCallsAgain) {
  const Status status = ThreadWorld::run(2, [](CommWorld& world) -> Status {
    if (world.rank() == 1) {
      const auto links = connect_watchdogs(world, "");
      return links.status();
    }
    OCTET_ASSIGN_OR_RETURN(const ListeningSocket listener, listen_tcp(true, 2));
    constexpr uint64_t kSecret = 77;
    const std::string loopback = loopback_identity();
    world.host().gather(std::as_bytes(std::span(loopback)), 0);
    std::vector<std::byte> bytes = Packer().number(kSecret).number(listener.port).text(loopback).bytes();
    world.host().broadcast(bytes, 0);
    EXPECT_TRUE(accept_tcp(listener, kEnough).ok());  // and hang up
    OCTET_ASSIGN_OR_RETURN(UniqueFd socket, accept_tcp(listener, kEnough));
    MessageLink caller(std::move(socket));
    const auto hello = unpack_hello(await_message(caller).payload);
    EXPECT_TRUE(hello.ok() && hello->secret == kSecret && hello->rank == 1);
    caller.send(MessageType::kHello, pack_hello({kSecret, 0}));
    return agree(world, ok_status());
  });
  EXPECT_TRUE(status.ok()) << status.message();
}

}  // namespace
}  // namespace octet
