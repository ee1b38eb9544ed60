#include "comm/beat.h"

#include "runtime/base/pack.h"

namespace octet {
namespace {

// The value, if the message held all of it, nothing more, and made sense.
template <typename T>
Result<T> complete(const Unpacker& unpacker, T value, bool sensible = true) {
  if (!unpacker.ok() || !unpacker.at_end() || !sensible) return failed("a damaged message");
  return value;
}

}  // namespace

std::vector<std::byte> pack_report(const ProgressReport& report) {
  const Place& place = report.place;
  Packer packer;
  packer.number(place.events).number(static_cast<uint64_t>(place.layer)).number(static_cast<uint64_t>(place.phase));
  packer.number(place.idle ? 1 : 0).number(static_cast<uint64_t>(place.kind));
  packer.number(place.group).number(place.sequence).number(place.expected_bytes).number(place.received_bytes);
  packer.number(place.expected_peers).number(place.received_peers);
  for (const GroupReport& group : report.groups) {
    packer.number(group.key).number(group.entered).number(group.members.size());
    for (const int member : group.members) packer.number(static_cast<uint64_t>(member));
  }
  return packer.bytes();
}

Result<ProgressReport> unpack_report(std::span<const std::byte> payload) {
  Unpacker unpacker(payload);
  ProgressReport report;
  Place& place = report.place;
  place.events = unpacker.number();
  place.layer = static_cast<int32_t>(unpacker.number());
  place.phase = static_cast<Phase>(unpacker.number());
  place.idle = unpacker.number() != 0;
  place.kind = static_cast<CollectiveKind>(unpacker.number());
  place.group = static_cast<uint32_t>(unpacker.number());
  place.sequence = unpacker.number();
  place.expected_bytes = unpacker.number();
  place.received_bytes = unpacker.number();
  place.expected_peers = static_cast<uint32_t>(unpacker.number());
  place.received_peers = static_cast<uint32_t>(unpacker.number());
  while (unpacker.ok() && !unpacker.at_end()) {
    GroupReport& group = report.groups.emplace_back();
    group.key = unpacker.number();
    group.entered = unpacker.number();
    const uint64_t num_members = unpacker.number();
    for (uint64_t i = 0; i < num_members && unpacker.ok(); ++i) {
      group.members.push_back(static_cast<int>(unpacker.number()));
    }
  }
  const bool known = static_cast<size_t>(place.phase) < kNumPhases && place.kind <= kLastCollectiveKind;
  const bool in_group = place.kind == CollectiveKind::kNone || place.group < report.groups.size();
  return complete(unpacker, std::move(report), known && in_group);
}

std::vector<std::byte> pack_failure(const JobFailure& failure) {
  return Packer()
      .number(static_cast<uint64_t>(failure.exit_code))
      .number(static_cast<uint64_t>(failure.rank))
      .text(failure.line)
      .bytes();
}

Result<JobFailure> unpack_failure(std::span<const std::byte> payload) {
  Unpacker unpacker(payload);
  JobFailure failure;
  failure.exit_code = static_cast<int>(unpacker.number());
  failure.rank = static_cast<int>(unpacker.number());
  failure.line = unpacker.text();
  return complete(unpacker, std::move(failure));
}

}  // namespace octet
