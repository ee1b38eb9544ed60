#include "launcher/job/job_message.h"

#include <fmt/ranges.h>

#include <sstream>

#include "runtime/base/pack.h"

namespace octet {
namespace {

using Bytes = std::vector<std::byte>;

constexpr uint32_t kMaxHello = 1024;
constexpr uint32_t kMaxReport = 1 << 16;

Bytes framed(const Packer& message) {
  return Packer().uint32(static_cast<uint32_t>(message.bytes().size())).raw(message.bytes()).take();
}

// The payload of the first frame, which stays in `unread`.
Result<std::optional<std::span<const std::byte>>> first_payload(const Bytes& unread, uint32_t most) {
  Unpacker unpacker(unread);
  const uint32_t size = unpacker.uint32();
  if (size > most) return failed("a message of {} bytes", size);
  const auto payload = unpacker.raw(size);
  return unpacker.ok() ? std::optional(payload) : std::nullopt;
}

void drop_frame(Bytes& unread, size_t payload) {
  unread.erase(unread.begin(), unread.begin() + static_cast<ptrdiff_t>(sizeof(uint32_t) + payload));
}

}  // namespace

Bytes pack_rank_hello(const RankHello& hello) {
  Packer packer;
  packer.text(hello.secret).number(static_cast<uint64_t>(hello.kind)).number(static_cast<uint64_t>(hello.rank));
  return framed(packer.text(hello.host));
}

Bytes pack_rank_report(const RankReport& report) {
  Packer packer;
  packer.number(static_cast<uint64_t>(report.stage.value_or(RankStage::kMissing))).text(report.verdict);
  return framed(packer);
}

Result<std::optional<RankHello>> take_rank_hello(Bytes& unread) {
  OCTET_ASSIGN_OR_RETURN(const auto payload, first_payload(unread, kMaxHello));
  if (!payload) return std::optional<RankHello>();
  Unpacker unpacker(*payload);
  RankHello hello;
  hello.secret = unpacker.text();
  const uint64_t kind = unpacker.number(), rank = unpacker.number();
  hello.host = unpacker.text();
  if (!unpacker.ok() || !unpacker.at_end() || kind > static_cast<uint64_t>(LineKind::kLog) || rank > 1 << 20) {
    return failed("a damaged hello");
  }
  hello.kind = static_cast<LineKind>(kind);
  hello.rank = static_cast<int>(rank);
  drop_frame(unread, payload->size());
  return std::optional(std::move(hello));
}

Result<std::optional<RankReport>> take_rank_report(Bytes& unread) {
  OCTET_ASSIGN_OR_RETURN(const auto payload, first_payload(unread, kMaxReport));
  if (!payload) return std::optional<RankReport>();
  Unpacker unpacker(*payload);
  RankReport report;
  const uint64_t stage = unpacker.number();
  report.verdict = unpacker.text();
  if (!unpacker.ok() || !unpacker.at_end() || stage > static_cast<uint64_t>(RankStage::kJoined)) {
    return failed("a damaged report");
  }
  if (stage != 0) report.stage = static_cast<RankStage>(stage);
  drop_frame(unread, payload->size());
  return std::optional(std::move(report));
}

std::string invitation_text(const JobInvitation& invitation) {
  if (!invitation.socket.empty()) return fmt::format("{} unix {}", invitation.secret, invitation.socket);
  // The identity has words of its own.
  return fmt::format("{} tcp {} {} {}", invitation.secret, invitation.port, fmt::join(invitation.addresses, ","),
                     invitation.loopback);
}

Result<JobInvitation> parse_invitation(const std::string& text) {
  std::istringstream words(text);
  JobInvitation invitation;
  std::string transport, addresses;
  words >> invitation.secret >> transport;
  if (transport == "unix" && words >> invitation.socket) return invitation;
  if (transport != "tcp" || !(words >> invitation.port >> addresses)) {
    return invalid_input("{}: set by something else than octet run", kJobVariable);
  }
  std::getline(words >> std::ws, invitation.loopback);
  std::istringstream list(addresses);
  for (std::string address; std::getline(list, address, ',');) {
    if (address.empty()) return invalid_input("{}: an address is missing", kJobVariable);
    invitation.addresses.push_back(address);
  }
  return invitation;
}

}  // namespace octet
