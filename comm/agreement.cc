#include "comm/agreement.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

namespace octet {
namespace {

using Message = std::vector<std::byte>;

void append_number(Message& message, uint64_t number) {
  const auto bytes = std::as_bytes(std::span(&number, 1));
  message.insert(message.end(), bytes.begin(), bytes.end());
}

void append_text(Message& message, std::string_view text) {
  append_number(message, text.size());
  const auto bytes = std::as_bytes(std::span(text));
  message.insert(message.end(), bytes.begin(), bytes.end());
}

uint64_t take_number(std::span<const std::byte>& message) {
  uint64_t number = 0;
  OCTET_CHECK(message.size() >= sizeof(number));
  std::memcpy(&number, message.data(), sizeof(number));
  message = message.subspan(sizeof(number));
  return number;
}

std::string take_text(std::span<const std::byte>& message) {
  const uint64_t size = take_number(message);
  OCTET_CHECK(message.size() >= size);
  const std::string text(reinterpret_cast<const char*>(message.data()), size);
  message = message.subspan(size);
  return text;
}

struct Contribution {
  std::string host;
  std::set<std::pair<std::string, uint64_t>> hashes;
};

Message pack(const std::string& host, std::span<const NamedHash> hashes) {
  Message message;
  append_text(message, host);
  for (const NamedHash& item : hashes) {
    append_text(message, item.name);
    append_number(message, item.hash);
  }
  return message;
}

Contribution unpack(std::span<const std::byte> message) {
  Contribution contribution{take_text(message), {}};
  while (!message.empty()) {
    const std::string name = take_text(message);
    contribution.hashes.emplace(name, take_number(message));
  }
  return contribution;
}

std::set<std::string> differing_names(const Contribution& a, const Contribution& b) {
  std::vector<std::pair<std::string, uint64_t>> differing;
  std::ranges::set_symmetric_difference(a.hashes, b.hashes, std::back_inserter(differing));
  std::set<std::string> names;
  for (const auto& [name, hash] : differing) names.insert(name);
  return names;
}

}  // namespace

Status check_same(CommWorld& world, std::span<const NamedHash> mine) {
  const std::vector<Message> all = world.host().all_gather(pack(world.host_name(), mine));
  const Contribution first = unpack(all[0]);
  std::vector<std::string> complaints;
  for (size_t rank = 1; rank < all.size(); ++rank) {
    const Contribution other = unpack(all[rank]);
    const std::set<std::string> names = differing_names(first, other);
    if (names.empty()) continue;
    complaints.push_back(
        fmt::format("rank {} (host {}) differs from rank 0 in: {}", rank, other.host, fmt::join(names, ", ")));
  }
  if (complaints.empty()) return ok_status();
  return invalid_input("{}", fmt::join(complaints, "; "));
}

Status agree(CommWorld& world, const Status& mine) {
  Message message;
  append_number(message, static_cast<uint64_t>(mine.code()));
  append_text(message, mine.message());
  append_text(message, world.host_name());
  bool all_alike = true;
  std::optional<std::string> first_failure;
  StatusCode code = StatusCode::kOk;
  const std::vector<Message> all = world.host().all_gather(message);
  for (size_t rank = 0; rank < all.size(); ++rank) {
    std::span<const std::byte> rest = all[rank];
    const auto code_of_rank = static_cast<StatusCode>(take_number(rest));
    const std::string text = take_text(rest);
    all_alike = all_alike && code_of_rank == mine.code() && text == mine.message();
    if (code_of_rank == StatusCode::kOk || first_failure) continue;
    first_failure = fmt::format("rank {} (host {}): {}", rank, take_text(rest), text);
    code = code_of_rank;
  }
  if (all_alike) return mine;
  return {code, *first_failure};
}

}  // namespace octet
