#include "launcher/supervisor.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <csignal>

#include "runtime/base/log.h"

namespace octet {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kEndingTime{10};        // from the first sign of the end until the launcher is killed
constexpr milliseconds kStragglers{200};  // for output that is still under way when the launcher has ended
constexpr seconds kRestartPause{1};       // grows with every restart, so that a broken service does not spin

UniqueFd catch_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, signal);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  return UniqueFd(signalfd(-1, &signals, SFD_CLOEXEC));
}

void write_errors(const std::string& text) { pass_on_lines(text, "launcher"); }

// Passes on what comes until the stream ends or nothing has come for a while.
void take_rest(int descriptor, LauncherOutput& output) {
  pollfd rest{descriptor, POLLIN, 0};
  std::string piece;
  while (poll(&rest, 1, static_cast<int>(kStragglers.count())) > 0 && read_some(descriptor, piece)) {
    write_errors(output.take(piece));
    piece.clear();
  }
  write_errors(output.finish());
}

}  // namespace

// A job that may read from the terminal has to stay in the terminal's foreground group.
Supervisor::Supervisor(SupervisedJob job)
    : job_(std::move(job)), own_group_(job_.is_service || isatty(STDIN_FILENO) == 0), signals_(catch_signals()) {}

Status Supervisor::run() {
  for (int restart = 1;; ++restart) {
    const Status status = run_once();
    if (interrupted_) return {StatusCode::kInterrupted, ""};
    if (status.ok() || status.code() == StatusCode::kInvalidInput || draining_ || restart > job_.restarts)
      return status;
    if (const Status wait = wait_before_restart(status, restart); !wait.ok()) return wait;
  }
}

Status Supervisor::run_once() {
  output_ = LauncherOutput();
  deadline_.reset();
  OCTET_ASSIGN_OR_RETURN(ChildProcess child,
                         ChildProcess::start(job_.command, {.own_group = own_group_, .no_input = job_.is_service}));
  watch(child);
  take_rest(child.errors(), output_);
  return job_status(child.wait(), output_.news());
}

// Until the launcher has ended.
void Supervisor::watch(ChildProcess& child) {
  std::array<pollfd, 3> events = {
      {{child.errors(), POLLIN, 0}, {signals_.get(), POLLIN, 0}, {child.exited(), POLLIN, 0}}};
  while (events[2].revents == 0) {
    int wait = -1;
    if (deadline_) {
      const auto left = std::chrono::ceil<milliseconds>(*deadline_ - Clock::now());
      if (left.count() <= 0) return child.send(SIGKILL);
      wait = static_cast<int>(left.count());
    }
    poll(events.data(), events.size(), wait);
    if (events[1].revents != 0) take_signal(child);
    if (events[0].revents == 0) continue;
    std::string piece;
    if (!read_some(child.errors(), piece)) events[0].fd = -1;
    write_errors(output_.take(piece));
    if (!output_.news().verdict.empty() && !deadline_) deadline_ = Clock::now() + kEndingTime;
  }
}

void Supervisor::take_signal(const ChildProcess& child) {
  signalfd_siginfo info{};
  if (read(signals_.get(), &info, sizeof(info)) != sizeof(info)) return;
  // The service knows whether it has keys to read again, or is to drain. mpirun hands this signal to its ranks.
  if (job_.is_service && info.ssi_signo == SIGHUP) return child.send(SIGUSR2);
  if (job_.is_service && !draining_) {
    draining_ = true;
    log_info("draining: the service ends when its streams have; a second signal ends it at once");
    return child.send(SIGUSR1);
  }
  if (interrupted_) return;  // a second one would make mpirun leave its ranks behind
  interrupted_ = true;
  deadline_ = Clock::now() + kEndingTime;
  const bool launcher_has_it = !own_group_ && info.ssi_code == SI_KERNEL;  // from the terminal, to the whole group
  if (!launcher_has_it) child.send(SIGTERM);
}

Status Supervisor::wait_before_restart(const Status& why, int restart) const {
  const auto pause = kRestartPause * restart;
  log_warning("{}; restart {} of {} in {} s", why.message().empty() ? "the service failed" : why.message(), restart,
              job_.restarts, pause.count());
  pollfd signal{signals_.get(), POLLIN, 0};
  if (poll(&signal, 1, static_cast<int>(milliseconds(pause).count())) > 0) return {StatusCode::kInterrupted, ""};
  return ok_status();
}

}  // namespace octet
