// What the watchdogs of a job tell each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "comm/progress.h"
#include "runtime/base/status.h"

namespace octet {

enum class MessageType : uint8_t {
  kChallenge,  // the first four: comm/handshake.h
  kHello,
  kWelcome,
  kReady,
  kBeat,     // a ProgressReport
  kGoodbye,  // the sender leaves in good order
  kFailure,  // the job ends: exit code and line
};

struct Message {
  MessageType type = MessageType::kBeat;
  std::vector<std::byte> payload;
};

// Why a job ends, for a person: one line that names the rank and its host.
struct JobFailure {
  int exit_code = 3;
  int rank = 0;
  std::string line;
  // Nothing was heard of the rank for too long: it hangs, or there is no way to it any more. Known to whoever found it,
  // and not part of a message.
  bool silent = false;
};

std::vector<std::byte> pack_report(const ProgressReport& report);
std::vector<std::byte> pack_failure(const JobFailure& failure);

// A payload that is not what it should be is an error, never more.
Result<ProgressReport> unpack_report(std::span<const std::byte> payload);
Result<JobFailure> unpack_failure(std::span<const std::byte> payload);

}  // namespace octet
