#include "launcher/job/job_desk.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "runtime/base/random_bytes.h"

namespace octet {
namespace {

constexpr size_t kMaxStrangers = 64;  // connections that have not shown the secret; then the oldest goes
constexpr std::chrono::seconds kHelloTime{10};
constexpr size_t kMaxLine = 1 << 16;             // of a log; a longer one is cut into several
constexpr size_t kMostAtOnce = size_t{1} << 18;  // of one caller, so that no other waits for a chatty one

// Every rank has two connections: room for them and what else a process has, as far as the system allows.
void make_room(int num_ranks) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const auto wanted = static_cast<rlim_t>(2 * num_ranks + 512);
  if (limit.rlim_cur >= wanted) return;
  limit.rlim_cur = std::min(limit.rlim_max, wanted);
  setrlimit(RLIMIT_NOFILE, &limit);
}

// A name without a file, which is gone with its owner.
UniqueFd listen_unix(const std::string& name) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  const bool listens = socket.valid() && bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), length) == 0 &&
                       listen(socket.get(), SOMAXCONN) == 0;
  return listens ? std::move(socket) : UniqueFd();
}

// Tells nothing by the time it takes.
bool is_same(const std::string& a, const std::string& b) {
  if (a.size() != b.size()) return false;
  unsigned difference = 0;
  for (size_t i = 0; i < a.size(); ++i) difference |= static_cast<unsigned char>(a[i] ^ b[i]);
  return difference == 0;
}

std::string text_of(const std::byte* bytes, size_t size) { return {reinterpret_cast<const char*>(bytes), size}; }

// Takes the whole lines out of `unread`.
std::string take_lines(std::vector<std::byte>& unread) {
  const auto newline = std::find(unread.rbegin(), unread.rend(), std::byte{'\n'});
  auto size = static_cast<size_t>(std::distance(newline, unread.rend()));
  std::string lines = text_of(unread.data(), size);
  if (size == 0 && unread.size() >= kMaxLine) {
    size = unread.size();
    lines = text_of(unread.data(), size) + '\n';
  }
  unread.erase(unread.begin(), unread.begin() + static_cast<ptrdiff_t>(size));
  return lines;
}

}  // namespace

Result<JobDesk> JobDesk::open(int num_ranks, bool several_hosts, const std::string& interface) {
  make_room(num_ranks);
  JobDesk desk(num_ranks);
  desk.unix_ = !several_hosts;
  JobInvitation invitation;
  invitation.secret = desk.secret_ = random_hex(16);
  if (several_hosts) {
    invitation.addresses = own_addresses(interface);
    if (invitation.addresses.empty()) invitation.addresses = own_addresses("");
    if (invitation.addresses.empty()) invitation.addresses = {"127.0.0.1"};
    const std::string listens_at = interface.empty() ? "" : invitation.addresses.front();
    OCTET_ASSIGN_OR_RETURN(auto listener, listen_tcp(listens_at, SOMAXCONN));
    invitation.port = listener.port;
    invitation.loopback = loopback_identity();
    desk.listener_ = std::move(listener.socket);
    fcntl(desk.listener_.get(), F_SETFL, fcntl(desk.listener_.get(), F_GETFL) | O_NONBLOCK);
  } else {
    invitation.socket = "octet-run-" + random_hex(16);
    desk.listener_ = listen_unix(invitation.socket);
    if (!desk.listener_.valid()) return failed("cannot listen on a Unix socket: {}", std::strerror(errno));
  }
  desk.invitation_ = invitation_text(invitation);
  return desk;
}

void JobDesk::add_events(std::vector<pollfd>& events) const {
  events.push_back({listener_.get(), POLLIN, 0});
  for (const Caller& caller : callers_) events.push_back({caller.socket.get(), POLLIN, 0});
}

std::string JobDesk::take() {
  welcome();
  std::string log;
  for (Caller& caller : callers_) read(caller, log);
  const auto now = Clock::now();
  std::erase_if(callers_, [&](const Caller& caller) {
    return !caller.socket.valid() || (!caller.known && now - caller.since > kHelloTime);
  });
  return log;
}

std::string JobDesk::finish() {
  std::string log = take();
  for (Caller& caller : callers_) {
    if (caller.known && caller.kind == LineKind::kLog && !caller.unread.empty()) {
      log += text_of(caller.unread.data(), caller.unread.size()) + '\n';
    }
  }
  callers_.clear();
  return log;
}

void JobDesk::welcome() {
  while (true) {
    UniqueFd socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket.valid()) return;
    const auto is_stranger = [](const Caller& caller) { return !caller.known; };
    if (std::ranges::count_if(callers_, is_stranger) >= static_cast<ptrdiff_t>(kMaxStrangers)) {
      callers_.erase(std::ranges::find_if(callers_, is_stranger));
    }
    callers_.push_back({.socket = std::move(socket), .since = Clock::now(), .unread = {}});
  }
}

// Closes the socket of a caller that has gone or speaks nonsense.
void JobDesk::read(Caller& caller, std::string& log) {
  std::array<std::byte, 16384> block;
  for (size_t total = 0; caller.socket.valid() && total < kMostAtOnce;) {
    const ssize_t count = recv(caller.socket.get(), block.data(), block.size(), 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (count <= 0) {
      if (caller.known && caller.kind == LineKind::kLog && !caller.unread.empty()) {
        log += text_of(caller.unread.data(), caller.unread.size()) + '\n';
      }
      return caller.socket.reset();
    }
    total += static_cast<size_t>(count);
    caller.unread.insert(caller.unread.end(), block.begin(), block.begin() + count);
    digest(caller, log);
  }
}

void JobDesk::digest(Caller& caller, std::string& log) {
  if (!caller.known && !take_hello(caller)) return;
  if (caller.kind == LineKind::kLog) {
    log += take_lines(caller.unread);
    return;
  }
  while (true) {
    auto report = take_rank_report(caller.unread);
    if (!report.ok()) return caller.socket.reset();
    if (!*report) return;
    if ((*report)->stage) ranks_[static_cast<size_t>(caller.rank)].stage = *(*report)->stage;
    if (verdict_.empty()) verdict_ = (*report)->verdict;
  }
}

// Whether the caller is known now.
bool JobDesk::take_hello(Caller& caller) {
  const auto hello = take_rank_hello(caller.unread);
  if (hello.ok() && !*hello) return false;
  if (!hello.ok() || !is_same((*hello)->secret, secret_) || (*hello)->rank >= static_cast<int>(ranks_.size())) {
    caller.socket.reset();
    return false;
  }
  caller.known = anybody_came_ = true;
  caller.kind = (*hello)->kind;
  caller.rank = (*hello)->rank;
  RankAtDesk& rank = ranks_[static_cast<size_t>(caller.rank)];
  rank.host = (*hello)->host;
  if (rank.stage == RankStage::kMissing) rank.stage = RankStage::kStarted;
  if (caller.kind == LineKind::kReports) remember_process(caller.socket.get());
  const char word = 'y';
  [[maybe_unused]] const ssize_t sent = send(caller.socket.get(), &word, 1, MSG_NOSIGNAL);
  return true;
}

void JobDesk::remember_process(int socket) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (!unix_ || getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || peer.pid <= 0) return;
  UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, peer.pid, 0)));
  if (process.valid()) processes_.push_back(std::move(process));
}

void JobDesk::end_processes() {
  for (const UniqueFd& process : processes_) syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0);
  processes_.clear();
}

}  // namespace octet
