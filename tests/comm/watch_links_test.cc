// How watchdogs find each other where a call is late, lost or a stranger's. The test plays one of the ranks, and the
// strangers.
#include "comm/watch_links.h"

#include <gmock/gmock.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <chrono>
#include <filesystem>
#include <future>
#include <random>

#include "comm/agreement.h"
#include "comm/handshake.h"
#include "comm/thread_comm.h"
#include "runtime/base/pack.h"

namespace octet {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;

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
  Bytes32 secret{};
  uint16_t port = 0;
  std::vector<std::string> addresses;
};

// What connect_watchdogs does on a rank before it calls: where rank 0 is. `loopback`: what the rank says of its own.
Place hear_invitation(CommWorld& world, const std::string& loopback = loopback_identity()) {
  world.host().gather(std::as_bytes(std::span(loopback)), 0);
  std::vector<std::byte> bytes;
  world.host().broadcast(bytes, 0);
  Unpacker unpacker(bytes);
  Place place;
  const std::string secret = unpacker.text();
  place.secret = unpack_bytes32(std::as_bytes(std::span(secret))).value();
  place.port = static_cast<uint16_t>(unpacker.number());
  unpacker.text();
  while (unpacker.ok() && !unpacker.at_end()) place.addresses.push_back(unpacker.text());
  return place;
}

// The same as rank 0, which listens at `port`.
void invite(CommWorld& world, const Bytes32& secret, uint16_t port) {
  const std::string loopback = loopback_identity();
  world.host().gather(std::as_bytes(std::span(loopback)), 0);
  Packer packer;
  packer.text({reinterpret_cast<const char*>(secret.data()), secret.size()}).number(port).text(loopback);
  std::vector<std::byte> bytes = packer.bytes();
  world.host().broadcast(bytes, 0);
}

UniqueFd open_socket(const Place& place, const std::string& address = "127.0.0.1") {
  auto socket = connect_tcp(address, place.port, kEnough);
  EXPECT_TRUE(socket.ok()) << socket.status().message();
  return *std::move(socket);
}
MessageLink connect_to(const Place& place) { return MessageLink(open_socket(place)); }

Bytes32 challenge_of(MessageLink& link) {
  const Message message = await_message(link);
  EXPECT_EQ(message.type, MessageType::kChallenge);
  return unpack_bytes32(message.payload).value();
}

// What rank 0 answers to a hello that is made with `secret`.
MessageType say_hello(MessageLink& link, const Bytes32& secret, int rank) {
  link.send(MessageType::kHello, pack_hello(make_hello(secret, challenge_of(link), rank, draw_random())));
  return await_message(link).type;
}

// Rank 0 with real watchdogs' links, which must be to all other ranks. Each is sent a heartbeat.
Status lead(CommWorld& world) {
  OCTET_ASSIGN_OR_RETURN(auto links, connect_watchdogs(world, ""));
  std::vector<bool> found(static_cast<size_t>(world.size()));
  for (RankLink& other : links) {
    found[static_cast<size_t>(other.rank)] = true;
    other.link.send(MessageType::kBeat, {});
  }
  EXPECT_EQ(std::ranges::count(found, true), world.size() - 1);
  return ok_status();
}

TEST(WatchLinks, RankThatCallsAgainIsTakenWhoeverElseCalls) {
  std::promise<void> last_caller_may_call;
  const Status status = ThreadWorld::run(3, [&](CommWorld& world) -> Status {
    if (world.rank() == 0) return lead(world);
    const Place place = hear_invitation(world);
    if (world.rank() == 1) last_caller_may_call.get_future().wait();
    const MessageLink silent = connect_to(place);
    MessageLink call = connect_to(place);
    if (world.rank() == 2) {
      EXPECT_EQ(say_hello(call, draw_random(), 2), MessageType::kGoodbye);
      call = connect_to(place);
      EXPECT_EQ(say_hello(call, place.secret, 2), MessageType::kWelcome);
      call = connect_to(place);  // given up before it was ready
      EXPECT_EQ(say_hello(call, place.secret, 2), MessageType::kWelcome);
      call.send(MessageType::kReady, {});
      call = connect_to(place);  // given up later
    }
    EXPECT_EQ(say_hello(call, place.secret, world.rank()), MessageType::kWelcome);
    call.send(MessageType::kReady, {});
    if (world.rank() == 2) last_caller_may_call.set_value();
    OCTET_RETURN_IF_ERROR(agree(world, ok_status()));
    EXPECT_EQ(await_message(call).type, MessageType::kBeat);
    return ok_status();
  });
  EXPECT_TRUE(status.ok()) << status.message();
}

TEST(WatchLinks, RankThatIsNotAnsweredCallsAgain) {
  const Status status = ThreadWorld::run(2, [](CommWorld& world) -> Status {
    if (world.rank() == 1) return connect_watchdogs(world, "").status();
    OCTET_ASSIGN_OR_RETURN(const ListeningSocket listener, listen_tcp("127.0.0.1", 2));
    const Bytes32 secret = draw_random();
    invite(world, secret, listener.port);
    EXPECT_TRUE(accept_tcp(listener, kEnough).ok());  // and hang up
    OCTET_ASSIGN_OR_RETURN(const UniqueFd silent, accept_tcp(listener, kEnough));
    OCTET_ASSIGN_OR_RETURN(UniqueFd socket, accept_tcp(listener, kEnough));
    MessageLink caller(std::move(socket));
    const Bytes32 challenge = draw_random();
    caller.send(MessageType::kChallenge, challenge);
    const auto hello = unpack_hello(await_message(caller).payload);
    EXPECT_TRUE(hello.ok() && hello->rank == 1 && is_genuine(*hello, secret, challenge));
    caller.send(MessageType::kWelcome, make_welcome(secret, challenge, *hello));
    EXPECT_EQ(await_message(caller).type, MessageType::kReady);
    return agree(world, ok_status());
  });
  EXPECT_TRUE(status.ok()) << status.message();
}

// One takes a rank's call and gives back what it is sent, another answers with what it can make of that.
TEST(WatchLinks, WhoOnlyRepeatsIsNotTakenForRank0) {
  const Status status = ThreadWorld::run(2, [](CommWorld& world) -> Status {
    if (world.rank() == 1) return connect_watchdogs(world, "").status();
    OCTET_ASSIGN_OR_RETURN(const ListeningSocket listener, listen_tcp("127.0.0.1", 2));
    const Bytes32 secret = draw_random();
    invite(world, secret, listener.port);
    for (int attempt = 0; attempt < 4; ++attempt) {
      OCTET_ASSIGN_OR_RETURN(UniqueFd socket, accept_tcp(listener, kEnough));
      MessageLink caller(std::move(socket));
      const Bytes32 challenge = draw_random();
      caller.send(MessageType::kChallenge, challenge);
      const Message said = await_message(caller);
      EXPECT_EQ(said.type, MessageType::kHello);
      const Hello hello = unpack_hello(said.payload).value();
      if (attempt == 0) caller.send(said.type, said.payload);
      if (attempt == 1) caller.send(MessageType::kWelcome, hello.proof);
      if (attempt == 2) caller.send(MessageType::kWelcome, hello.number);
      if (attempt == 3) caller.send(MessageType::kWelcome, make_welcome(secret, challenge, hello));
      EXPECT_EQ(await_message(caller).type, attempt < 3 ? MessageType::kGoodbye : MessageType::kReady) << attempt;
    }
    return agree(world, ok_status());
  });
  EXPECT_TRUE(status.ok()) << status.message();
}

// A stranger hands rank 0's challenge on to a rank and that one's hello back: a hello is good for one connection alone,
// and what is said of another number, rank or secret proves nothing.
TEST(Handshake, AProofIsOfOneSecretRankAndPairOfNumbers) {
  const Bytes32 secret = draw_random(), challenge = draw_random();
  const Hello hello = make_hello(secret, challenge, 3, draw_random());
  EXPECT_TRUE(is_genuine(hello, secret, challenge));
  EXPECT_FALSE(is_genuine(hello, draw_random(), challenge));
  EXPECT_FALSE(is_genuine(hello, secret, draw_random()));
  Hello changed = hello;
  changed.rank = 2;
  EXPECT_FALSE(is_genuine(changed, secret, challenge));
  changed = hello;
  changed.number = draw_random();
  EXPECT_FALSE(is_genuine(changed, secret, challenge));
  const Bytes32 welcome = make_welcome(secret, challenge, hello);
  EXPECT_TRUE(is_genuine_welcome(welcome, secret, challenge, hello));
  EXPECT_FALSE(is_genuine_welcome(hello.proof, secret, challenge, hello));
  EXPECT_FALSE(is_genuine_welcome(welcome, secret, draw_random(), hello));
  EXPECT_NE(draw_random(), draw_random());
}

TEST(Handshake, DamagedMessagesAreErrors) {
  const auto good = pack_hello(make_hello(draw_random(), draw_random(), 3, draw_random()));
  EXPECT_TRUE(unpack_hello(good).ok());
  for (size_t size = 0; size < good.size(); ++size)
    EXPECT_FALSE(unpack_hello(std::span(good).first(size)).ok()) << size;
  auto more = good;
  more.push_back({});
  EXPECT_FALSE(unpack_hello(more).ok());
  EXPECT_FALSE(unpack_bytes32(good).ok());
}

// What a stranger does with its connection. It is kept open as long as rank 0 does.
void be_strange(const UniqueFd& socket, size_t kind, std::mt19937& random) {
  std::vector<std::byte> bytes(kind == 1 ? 3 : 100'000);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  const auto size = static_cast<uint32_t>(kind == 3 ? 1 << 20 : 100);
  if (kind == 3 || kind == 4) {  // a header that is one, of a message that is too long or does not come
    std::memcpy(bytes.data(), &size, sizeof(size));
    bytes[4] = static_cast<std::byte>(MessageType::kHello);
    if (kind == 4) bytes.resize(7);
  }
  if (kind == 5) {  // what a rank says when it has been welcomed
    std::fill(bytes.begin(), bytes.begin() + 5, std::byte{0});
    bytes[4] = static_cast<std::byte>(MessageType::kReady);
    bytes.resize(5);
  }
  if (kind == 6) shutdown(socket.get(), SHUT_WR);
  if (kind != 0 && kind != 6) send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

size_t num_open_descriptors() {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}));
}

TEST(WatchLinks, StrangersInCrowdsHoldNobodyUp) {
  const size_t before = num_open_descriptors();
  constexpr size_t kStrangers = 700;
  std::promise<void> crowd_is_there;
  auto is_there = crowd_is_there.get_future().share();
  const Status status = ThreadWorld::run(4, [&](CommWorld& world) -> Status {
    if (world.rank() == 0) return lead(world);
    if (world.rank() > 1) {
      // A rank that comes late, so that the crowd is there before it.
      const Place place = hear_invitation(world);
      is_there.wait();
      MessageLink call = connect_to(place);
      EXPECT_EQ(say_hello(call, place.secret, world.rank()), MessageType::kWelcome);
      call.send(MessageType::kReady, {});
      OCTET_RETURN_IF_ERROR(agree(world, ok_status()));
      EXPECT_EQ(await_message(call).type, MessageType::kBeat);
      return ok_status();
    }
    const Place place = hear_invitation(world);
    std::mt19937 random(11);
    std::vector<UniqueFd> crowd;
    size_t most = 0;
    for (size_t i = 0; i < kStrangers; ++i) {
      crowd.push_back(open_socket(place));
      be_strange(crowd.back(), i % 7, random);
      most = std::max(most, num_open_descriptors() - before - crowd.size());
    }
    EXPECT_LE(most, kMaxCallers + 16) << "descriptors that rank 0 keeps for strangers";
    crowd_is_there.set_value();
    MessageLink call = connect_to(place);
    EXPECT_EQ(say_hello(call, place.secret, 1), MessageType::kWelcome);
    call.send(MessageType::kReady, {});
    OCTET_RETURN_IF_ERROR(agree(world, ok_status()));
    EXPECT_EQ(await_message(call).type, MessageType::kBeat);
    return ok_status();
  });
  EXPECT_TRUE(status.ok()) << status.message();
}

// Over several hosts rank 0 listens at the address that it is told, and nowhere else.
TEST(WatchLinks, OverSeveralHostsItListensWhereItIsTold) {
  const Status status = ThreadWorld::run(2, [](CommWorld& world) -> Status {
    if (world.rank() == 0) return connect_watchdogs(world, "127.0.0.0/8").status();
    const Place place = hear_invitation(world, "of another host");
    EXPECT_THAT(place.addresses, ElementsAre("127.0.0.1"));
    for (const std::string& other : own_addresses("")) {
      EXPECT_FALSE(connect_tcp(other, place.port, kEnough).ok()) << other;
    }
    MessageLink call = connect_to(place);
    EXPECT_EQ(say_hello(call, place.secret, 1), MessageType::kWelcome);
    call.send(MessageType::kReady, {});
    return agree(world, ok_status());
  });
  EXPECT_TRUE(status.ok()) << status.message();
}

TEST(Network, OwnAddressesAreNamedByInterfaceAddressOrNetwork) {
  for (const char* which : {"lo", "127.0.0.1", "127.0.0.0/8", "nosuch0,lo", "240.0.0.0/8,127.0.0.1/32"}) {
    const auto addresses = own_addresses(which);
    ASSERT_FALSE(addresses.empty()) << which;
    EXPECT_EQ(addresses.front(), "127.0.0.1") << which;
  }
  for (const char* which : {"nosuch0", "240.0.0.0/8", "127.0.0.0/40", "127.0.0.0/x", "127.0.0.0/", "/8"}) {
    EXPECT_THAT(own_addresses(which), ElementsAre()) << which;
  }
  for (const std::string& address : own_addresses("")) EXPECT_NE(address, "127.0.0.1");
}

}  // namespace
}  // namespace octet
