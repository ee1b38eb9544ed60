#include "comm/agreement.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <set>
#include <utility>

#include "runtime/base/pack.h"

namespace octet {
namespace {

struct Contribution {
  std::string host;
  std::set<std::pair<std::string, uint64_t>> hashes;
};

std::vector<std::byte> pack(const std::string& host, std::span<const NamedHash> hashes) {
  Packer packer;
  packer.text(host);
  for (const NamedHash& item : hashes) packer.text(item.name).number(item.hash);
  return packer.bytes();
}

Contribution unpack(std::span<const std::byte> message) {
  Unpacker unpacker(message);
  Contribution contribution{unpacker.text(), {}};
  while (unpacker.ok() && !unpacker.at_end()) {
    const std::string name = unpacker.text();
    contribution.hashes.emplace(name, unpacker.number());
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
  const auto all = world.host().all_gather(pack(world.host_name(), mine));
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
  const auto all = world.host().all_gather(
      Packer().number(static_cast<uint64_t>(mine.code())).text(mine.message()).text(world.host_name()).bytes());
  bool all_alike = true;
  std::optional<Status> first_failure;
  for (size_t rank = 0; rank < all.size(); ++rank) {
    Unpacker unpacker(all[rank]);
    const auto code = static_cast<StatusCode>(unpacker.number());
    const std::string message = unpacker.text();
    all_alike = all_alike && code == mine.code() && message == mine.message();
    if (code == StatusCode::kOk || first_failure) continue;
    first_failure = Status(code, fmt::format("rank {} (host {}): {}", rank, unpacker.text(), message));
  }
  return all_alike ? mine : *first_failure;
}

}  // namespace octet
