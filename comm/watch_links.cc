#include "comm/watch_links.h"

#include <fmt/ranges.h>
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "comm/agreement.h"
#include "comm/handshake.h"
#include "comm/watch_reception.h"
#include "runtime/base/pack.h"

namespace octet {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kJoinLimit{20'000};    // for all ranks
constexpr milliseconds kConnectLimit{2'000};  // of one attempt
// Of one attempt that is connected, from the first round through all addresses to a later one: who answers at a wrong
// address may be silent, and a busy rank 0 may take its time.
constexpr milliseconds kFirstAnswerLimit{2'000};
constexpr milliseconds kLastAnswerLimit{10'000};
constexpr milliseconds kPause{100};  // before all addresses are tried once more
constexpr int kBacklog = 1024;       // callers that may wait to be taken; the system has a limit of its own

// What rank 0 tells the others: where to call, and what only they know.
struct Invitation {
  Bytes32 secret{};
  uint16_t port = 0;     // 0: rank 0 has failed
  std::string loopback;  // rank 0's loopback_identity(); empty: do not call there
  std::vector<std::string> addresses;
};

std::vector<std::byte> pack(const Invitation& invitation) {
  Packer packer;
  packer.block(invitation.secret).number(invitation.port).text(invitation.loopback);
  for (const std::string& address : invitation.addresses) packer.text(address);
  return packer.bytes();
}

Invitation unpack(std::span<const std::byte> bytes) {
  Unpacker unpacker(bytes);
  Invitation invitation;
  const auto known = unpack_bytes32(unpacker.block());
  if (known.ok()) invitation.secret = *known;
  invitation.port = static_cast<uint16_t>(unpacker.number());
  invitation.loopback = unpacker.text();
  while (unpacker.ok() && !unpacker.at_end()) invitation.addresses.push_back(unpacker.text());
  return invitation;
}

// Listens where the others will be told to call.
Result<ListeningSocket> listen_for(Invitation& invitation, bool one_host, const std::string& address) {
  std::string where = one_host ? "127.0.0.1" : "";
  if (address.empty()) {
    invitation.loopback = loopback_identity();
    invitation.addresses = own_addresses("");
  } else if (const auto named = own_addresses(address); !named.empty()) {
    where = named.front();
    invitation.addresses = {where};
  } else {
    where = "";
    invitation.addresses = {address};
  }
  OCTET_ASSIGN_OR_RETURN(ListeningSocket listener, listen_tcp(where, kBacklog));
  invitation.port = listener.port;
  return listener;
}

// Rank 0: hears the others.
Result<std::vector<RankLink>> take_calls(const ListeningSocket& listener, const Invitation& invitation, int num_ranks) {
  WatchReception reception(listener, invitation.secret, num_ranks);
  reception.take_calls(kJoinLimit);
  if (const std::vector<int> missing = reception.missing(); !missing.empty()) {
    return failed("ranks {} do not reach the watchdog of rank 0 at {}, port {} ({} strangers called there)",
                  fmt::join(missing, " "),
                  invitation.addresses.empty() ? "127.0.0.1" : fmt::format("{}", fmt::join(invitation.addresses, ", ")),
                  invitation.port, reception.num_strangers());
  }
  return reception.take_links();
}

// The payload of the next message of that type, if it comes in time and as the first.
Result<Bytes32> await(MessageLink& link, MessageType type, Clock::time_point deadline) {
  while (true) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    if (const auto message = link.next()) {
      if (message->type != type) break;
      return unpack_bytes32(message->payload);
    }
    if (link.closed() || left <= milliseconds(0)) break;
    pollfd poll_fd{link.fd(), POLLIN, 0};
    poll(&poll_fd, 1, static_cast<int>(left.count()));
  }
  return failed("no answer from a watchdog of this job");
}

// One call of another rank to rank 0.
Result<MessageLink> call(const std::string& address, const Invitation& invitation, int rank, milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  OCTET_ASSIGN_OR_RETURN(UniqueFd socket, connect_tcp(address, invitation.port, std::min(limit, kConnectLimit)));
  MessageLink link(std::move(socket));
  link.limit_payload(kMaxHandshakePayload);
  OCTET_ASSIGN_OR_RETURN(const Bytes32 challenge, await(link, MessageType::kChallenge, deadline));
  const Hello hello = make_hello(invitation.secret, challenge, rank, draw_random());
  link.send(MessageType::kHello, pack_hello(hello));
  OCTET_ASSIGN_OR_RETURN(const Bytes32 welcome, await(link, MessageType::kWelcome, deadline));
  if (!is_genuine_welcome(welcome, invitation.secret, challenge, hello))
    return failed("somebody who is no watchdog of this job answers");
  link.send(MessageType::kReady, {});
  link.limit_payload(MessageLink::kMaxPayload);
  return link;
}

// Another rank: calls rank 0 at one address after the other until it answers.
Result<std::vector<RankLink>> call_rank_0(const Invitation& invitation, int rank) {
  std::vector<std::string> addresses = invitation.addresses;
  if (!invitation.loopback.empty() && invitation.loopback == loopback_identity())
    addresses.insert(addresses.begin(), "127.0.0.1");
  if (addresses.empty()) return failed("the watchdog cannot reach rank 0: no address of it is known");
  const auto deadline = Clock::now() + kJoinLimit;
  std::string reason;
  for (size_t i = 0;; ++i) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    if (left <= milliseconds(0)) break;
    const std::string& address = addresses[i % addresses.size()];
    const auto patience =
        std::min<milliseconds>(kFirstAnswerLimit * static_cast<int>(1 + i / addresses.size()), kLastAnswerLimit);
    auto link = call(address, invitation, rank, std::min<milliseconds>(left, patience));
    if (link.ok()) {
      std::vector<RankLink> links;
      links.push_back({0, *std::move(link)});
      return links;
    }
    reason = fmt::format("{}: {}", address, link.status().message());
    if ((i + 1) % addresses.size() == 0) std::this_thread::sleep_for(kPause);
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
  Result<ListeningSocket> listener = ListeningSocket();
  if (world.rank() == 0) {
    invitation.secret = draw_random();
    listener = listen_for(invitation, one_host, address);
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
