#include "comm/watch_links.h"

#include <fmt/ranges.h>
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "comm/agreement.h"
#include "comm/pack.h"

namespace octet {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kJoinLimit{20'000};   // for all ranks
constexpr milliseconds kAnswerLimit{2'000};  // for one attempt

// What rank 0 tells the others: where to call, and the word to say.
struct Invitation {
  uint64_t secret = 0;
  uint16_t port = 0;     // 0: rank 0 has failed
  std::string loopback;  // rank 0's loopback_identity(); empty: do not call there
  std::vector<std::string> addresses;
};

std::vector<std::byte> pack(const Invitation& invitation) {
  Packer packer;
  packer.number(invitation.secret).number(invitation.port).text(invitation.loopback);
  for (const std::string& address : invitation.addresses) packer.text(address);
  return packer.bytes();
}

Invitation unpack(std::span<const std::byte> bytes) {
  Unpacker unpacker(bytes);
  Invitation invitation;
  invitation.secret = unpacker.number();
  invitation.port = static_cast<uint16_t>(unpacker.number());
  invitation.loopback = unpacker.text();
  while (unpacker.ok() && !unpacker.at_end()) invitation.addresses.push_back(unpacker.text());
  return invitation;
}

std::vector<std::string> addresses_of(const std::string& interface_or_address) {
  std::vector<std::string> addresses = own_addresses(interface_or_address);
  if (addresses.empty() && !interface_or_address.empty()) addresses.push_back(interface_or_address);
  return addresses;
}

Invitation invite(uint16_t port, const std::string& loopback, const std::string& address) {
  std::random_device random;
  const uint64_t secret = uint64_t{random()} << 32 | random();
  return {secret, port, address.empty() ? loopback : "", addresses_of(address)};
}

// The next message if it comes in time and is a Hello with the secret.
Result<Hello> wait_for_hello(MessageLink& link, uint64_t secret, milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  while (true) {
    const auto message = link.next();
    if (message && message->type == MessageType::kHello) {
      const auto hello = unpack_hello(message->payload);
      if (hello.ok() && hello->secret == secret) return hello;
    }
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    if (message || link.closed() || left <= milliseconds(0)) return failed("no answer from a watchdog of this job");
    pollfd poll_fd{link.fd(), POLLIN, 0};
    poll(&poll_fd, 1, static_cast<int>(left.count()));
  }
}

Status nobody_calls(const Invitation& invitation, const std::vector<RankLink>& links, int num_ranks) {
  std::vector<int> missing;
  for (int rank = 1; rank < num_ranks; ++rank) {
    if (std::ranges::find(links, rank, &RankLink::rank) == links.end()) missing.push_back(rank);
  }
  return failed("ranks {} do not reach the watchdog of rank 0 at {}, port {}", fmt::join(missing, " "),
                invitation.addresses.empty() ? "127.0.0.1" : fmt::format("{}", fmt::join(invitation.addresses, ", ")),
                invitation.port);
}

// Rank 0: takes the calls of ranks 1 to num_ranks - 1.
Result<std::vector<RankLink>> take_calls(const Listener& listener, const Invitation& invitation, int num_ranks) {
  std::vector<RankLink> links;
  const auto deadline = Clock::now() + kJoinLimit;
  while (static_cast<int>(links.size()) + 1 < num_ranks) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    auto socket = accept_tcp(listener, std::max(left, milliseconds(0)));
    if (!socket.ok()) return nobody_calls(invitation, links, num_ranks);
    MessageLink link(*std::move(socket));
    const auto hello = wait_for_hello(link, invitation.secret, kAnswerLimit);
    const bool is_new = hello.ok() && hello->rank > 0 && hello->rank < num_ranks &&
                        std::ranges::find(links, hello->rank, &RankLink::rank) == links.end();
    if (!is_new) continue;
    link.send(MessageType::kHello, pack_hello({invitation.secret, 0}));
    links.push_back({hello->rank, std::move(link)});
  }
  return links;
}

// Another rank: calls rank 0, at the first address where it answers.
Result<std::vector<RankLink>> call_rank_0(const Invitation& invitation, int rank) {
  std::vector<std::string> addresses = invitation.addresses;
  if (!invitation.loopback.empty() && invitation.loopback == loopback_identity())
    addresses.insert(addresses.begin(), "127.0.0.1");
  std::string reason = "no address of it is known";
  for (const std::string& address : addresses) {
    auto socket = connect_tcp(address, invitation.port, kAnswerLimit);
    if (!socket.ok()) {
      reason = socket.status().message();
      continue;
    }
    MessageLink link(*std::move(socket));
    link.send(MessageType::kHello, pack_hello({invitation.secret, rank}));
    const auto hello = wait_for_hello(link, invitation.secret, kAnswerLimit);
    if (hello.ok()) {
      std::vector<RankLink> links;
      links.push_back({0, std::move(link)});
      return links;
    }
    reason = address + ": " + hello.status().message();
  }
  return failed("the watchdog cannot reach rank 0 at {}: {}", fmt::join(addresses, ", "), reason);
}

}  // namespace

Result<std::vector<RankLink>> connect_watchdogs(CommWorld& world, const std::string& address) {
  if (world.size() == 1) return std::vector<RankLink>();
  const std::string loopback = loopback_identity();
  const auto loopbacks = world.host().gather(std::as_bytes(std::span(loopback)), 0);
  const bool one_host = std::ranges::all_of(loopbacks, [&](const auto& other) { return other == loopbacks[0]; });
  Invitation invitation;
  Result<Listener> listener = Listener();
  if (world.rank() == 0) {
    listener = listen_tcp(one_host && address.empty(), world.size());
    if (listener.ok()) invitation = invite(listener->port, loopback, address);
  }
  std::vector<std::byte> bytes = pack(invitation);
  world.host().broadcast(bytes, 0);
  invitation = unpack(bytes);
  Result<std::vector<RankLink>> links = std::vector<RankLink>();
  if (!listener.ok()) {
    links = listener.status();
  } else if (invitation.port != 0) {
    links = world.rank() == 0 ? take_calls(*listener, invitation, world.size()) : call_rank_0(invitation, world.rank());
  }
  OCTET_RETURN_IF_ERROR(agree(world, links.status()));
  return links;
}

}  // namespace octet
