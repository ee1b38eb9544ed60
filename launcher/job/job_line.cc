#include "launcher/job/job_line.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "comm/comm_factory.h"
#include "runtime/base/log.h"

namespace octet {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kConnectLimit{5'000};  // of one address
constexpr milliseconds kAnswerLimit{20'000};  // of one that is connected: octet run may share a busy machine
constexpr timeval kSendLimit{2, 0};           // of a report

Result<UniqueFd> connect_unix(const std::string& name) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const size_t size = std::min(name.size(), sizeof(address.sun_path) - 1);
  std::memcpy(address.sun_path + 1, name.data(), size);  // behind a zero: abstract, no file
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + size);
  if (!socket.valid() || ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) {
    return failed("{}", std::strerror(errno));
  }
  return socket;
}

Result<UniqueFd> connect_to_desk(const JobInvitation& invitation) {
  if (!invitation.socket.empty()) return connect_unix(invitation.socket);
  std::vector<std::string> addresses = invitation.addresses;
  if (invitation.loopback == loopback_identity()) addresses.insert(addresses.begin(), "127.0.0.1");
  Result<UniqueFd> socket = failed("no address of it is known");
  for (const std::string& address : addresses) {
    socket = connect_tcp(address, invitation.port, kConnectLimit);
    if (socket.ok()) break;
  }
  return socket;
}

bool send_all(int socket, const std::vector<std::byte>& bytes) {
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t sent = ::send(socket, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    done += static_cast<size_t>(sent);
  }
  return true;
}

// A connection on which octet run has answered to the hello.
Result<UniqueFd> call(const JobInvitation& invitation, LineKind kind) {
  OCTET_ASSIGN_OR_RETURN(UniqueFd socket, connect_to_desk(invitation));
  fcntl(socket.get(), F_SETFL, fcntl(socket.get(), F_GETFL) & ~O_NONBLOCK);  // who writes to it expects no less
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  const bool sent = send_all(socket.get(), pack_rank_hello({invitation.secret, kind, launched_rank(), host.data()}));
  pollfd answer{socket.get(), POLLIN, 0};
  char word = 0;
  if (!sent || poll(&answer, 1, static_cast<int>(kAnswerLimit.count())) <= 0 || recv(socket.get(), &word, 1, 0) != 1) {
    return failed("it does not answer");
  }
  return socket;
}

}  // namespace

JobLine& JobLine::get() {
  static JobLine line;
  return line;
}

void JobLine::connect() {
  const char* variable = std::getenv(kJobVariable);
  if (variable == nullptr || !launched_as_rank()) return;
  const auto invitation = parse_invitation(variable);
  unsetenv(kJobVariable);  // it is this process's alone
  Result<UniqueFd> reports = invitation.status(), log = invitation.status();
  if (invitation.ok()) reports = call(*invitation, LineKind::kReports);
  if (reports.ok()) log = call(*invitation, LineKind::kLog);
  if (!reports.ok() || !log.ok()) {
    log_warning("{}: {}", kNoticeOfDetour, (reports.ok() ? log : reports).status().message());
    return;
  }
  setsockopt(reports->get(), SOL_SOCKET, SO_SNDTIMEO, &kSendLimit, sizeof(kSendLimit));
  dup2(log->get(), STDERR_FILENO);
  const std::lock_guard lock(mutex_);
  reports_ = *std::move(reports);
}

bool JobLine::report(const RankReport& report) {
  const std::lock_guard lock(mutex_);
  return reports_.valid() && send_all(reports_.get(), pack_rank_report(report));
}

void report_stage(RankStage stage) { JobLine::get().report({.stage = stage, .verdict = {}}); }

Result<std::unique_ptr<CommWorld>> join_job() {
  report_stage(RankStage::kJoining);
  return make_comm_world();
}

}  // namespace octet
