// What the ranks of a job tell `octet run`, over connections that it keeps for them (JobDesk). Nothing of it is ever
// read out of a log: whatever a rank writes there, it changes nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/status.h"

namespace octet {

// How far a rank has come with the start of its job.
enum class RankStage : uint8_t {
  kMissing,  // nothing has been heard of it
  kStarted,  // the process runs
  kJoining,  // it waits for the other ranks
  kOpening,  // it is busy with the model by itself
  kJoined,   // all ranks have found together
};

// A rank has two connections. The first words on either are its hello; then one has reports, and the other is its
// standard error.
enum class LineKind : uint8_t { kReports, kLog };

struct RankHello {
  std::string secret;  // of this start of the job
  LineKind kind = LineKind::kReports;
  int rank = 0;
  std::string host;
};

// One of the two.
struct RankReport {
  std::optional<RankStage> stage;
  std::string verdict;  // on a lost rank: "rank 2 (host b) died: …"
};

// As they travel: the size of what follows in 4 bytes, then the message.
std::vector<std::byte> pack_rank_hello(const RankHello& hello);
std::vector<std::byte> pack_rank_report(const RankReport& report);

// The first message in `unread`, which is taken out; nothing: it has not arrived in full. kFailed: nonsense, from which
// no way leads back to sense.
Result<std::optional<RankHello>> take_rank_hello(std::vector<std::byte>& unread);
Result<std::optional<RankReport>> take_rank_report(std::vector<std::byte>& unread);

// Where ranks find the desk, and the secret that they show there. As text it is the value of kJobVariable.
struct JobInvitation {
  std::string secret;
  std::string socket;                  // name of an abstract Unix socket; empty: TCP
  uint16_t port = 0;                   // of TCP
  std::string loopback;                // loopback_identity() of the desk's host; empty: do not call there
  std::vector<std::string> addresses;  // of TCP, to be tried in this order
};
inline constexpr const char* kJobVariable = "OCTET_JOB";

// Tells ranks the network of the job: an interface's name, an address or a subnet. Not set: they choose.
inline constexpr const char* kInterfaceVariable = "OCTET_INTERFACE";

std::string invitation_text(const JobInvitation& invitation);
Result<JobInvitation> parse_invitation(const std::string& text);

}  // namespace octet
