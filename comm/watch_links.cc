#include "comm/watch_links.h"

#include <fmt/ranges.h>
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <thread>

#include "comm/agreement.h"
#include "comm/pack.h"

namespace octet {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kJoinLimit{20'000};    // for all ranks
constexpr milliseconds kConnectLimit{2'000};  // of one attempt
constexpr milliseconds kAnswerLimit{10'000};  // of one attempt that is connected: a busy rank 0 may take its time
constexpr milliseconds kPause{100};           // before all addresses are tried once more

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

// The Hello that a message is, if it has the secret.
Result<Hello> hello_of(const Message& message, uint64_t secret) {
  Result<Hello> hello = failed("no watchdog of this job");
  if (message.type == MessageType::kHello) hello = unpack_hello(message.payload);
  if (hello.ok() && hello->secret != secret) return failed("no watchdog of this job");
  return hello;
}

// Whether rank 0 answers on this link in time.
Status wait_for_answer(MessageLink& link, uint64_t secret, milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  while (true) {
    if (const auto message = link.next()) return hello_of(*message, secret).status();
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    if (link.closed() || left <= milliseconds(0)) return failed("no answer from a watchdog of this job");
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

// True if this was all that rank 0 has to do with a caller: it has said who it is and become a link, or is turned away.
bool answered(MessageLink& caller, uint64_t secret, int num_ranks, std::vector<RankLink>& links) {
  const auto message = caller.next();
  if (!message || caller.closed()) return caller.closed();
  const auto hello = hello_of(*message, secret);
  if (!hello.ok() || hello->rank <= 0 || hello->rank >= num_ranks) return true;
  // A rank calls again when it has given up its earlier call.
  std::erase_if(links, [&](const RankLink& link) { return link.rank == hello->rank; });
  caller.send(MessageType::kHello, pack_hello({secret, 0}));
  links.push_back({hello->rank, std::move(caller)});
  return true;
}

// Returns when somebody calls or a caller has spoken, or after `limit`.
void wait_for_callers(const ListeningSocket& listener, const std::vector<MessageLink>& callers, milliseconds limit) {
  std::vector<pollfd> fds = {{listener.socket.get(), POLLIN, 0}};
  for (const MessageLink& caller : callers) fds.push_back({caller.fd(), POLLIN, 0});
  poll(fds.data(), fds.size(), static_cast<int>(limit.count()));
}

// Rank 0: takes the calls of ranks 1 to num_ranks - 1. None waits for another caller that is slow to speak.
Result<std::vector<RankLink>> take_calls(const ListeningSocket& listener, const Invitation& invitation, int num_ranks) {
  std::vector<RankLink> links;
  std::vector<MessageLink> callers;  // that have not said who they are
  const auto deadline = Clock::now() + kJoinLimit;
  while (static_cast<int>(links.size()) + 1 < num_ranks) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    if (left <= milliseconds(0)) return nobody_calls(invitation, links, num_ranks);
    wait_for_callers(listener, callers, left);
    auto socket = accept_tcp(listener, milliseconds(0));
    if (socket.ok()) callers.emplace_back(*std::move(socket));
    for (size_t i = 0; i < callers.size();) {
      if (answered(callers[i], invitation.secret, num_ranks, links)) {
        callers.erase(callers.begin() + static_cast<ptrdiff_t>(i));
      } else {
        ++i;
      }
    }
  }
  return links;
}

// One call of another rank to rank 0.
Result<MessageLink> call(const std::string& address, const Invitation& invitation, int rank, milliseconds limit) {
  OCTET_ASSIGN_OR_RETURN(UniqueFd socket, connect_tcp(address, invitation.port, std::min(limit, kConnectLimit)));
  MessageLink link(std::move(socket));
  link.send(MessageType::kHello, pack_hello({invitation.secret, rank}));
  const Status answer = wait_for_answer(link, invitation.secret, std::min(limit, kAnswerLimit));
  if (!answer.ok()) return failed("{}: {}", address, answer.message());
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
    auto link = call(addresses[i % addresses.size()], invitation, rank, left);
    if (link.ok()) {
      std::vector<RankLink> links;
      links.push_back({0, *std::move(link)});
      return links;
    }
    reason = link.status().message();
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
