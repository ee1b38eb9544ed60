#include "launcher/job/supervisor.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "launcher/job/restart_window.h"
#include "runtime/base/log.h"

namespace octet {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kEndingTime{10};        // from the first sign of the end until the launcher is killed
constexpr milliseconds kStragglers{200};  // for output that is still under way when the launcher has ended
constexpr seconds kLastWords{2};          // for all of them

UniqueFd catch_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, signal);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  return UniqueFd(signalfd(-1, &signals, SFD_CLOEXEC));
}

// What comes from the launcher and from ranks.
void write_errors(const std::string& lines) { pass_on_lines(lines, "launcher"); }

}  // namespace

// A job that may read from the terminal has to stay in the terminal's foreground group.
Supervisor::Supervisor(SupervisedJob job)
    : job_(std::move(job)),
      own_group_(job_.is_service || isatty(STDIN_FILENO) == 0),
      signals_(catch_signals()),
      start_(job_.start_limit, Clock::now()) {
  adopt_orphans();
}

Status Supervisor::run() {
  RestartWindow window(job_.restarts);
  while (true) {
    OCTET_ASSIGN_OR_RETURN(const End end, run_once());
    if (interrupted_) return {StatusCode::kInterrupted, ""};
    const Status& status = end.status;
    if (status.ok() || status.code() == StatusCode::kInvalidInput || draining_ || !end.can_restart) return status;
    if (job_.restarts == 0) return status;
    const std::string why = status.message().empty() ? "the service failed" : status.message();
    const auto pause = window.failed(why, Clock::now());
    if (!pause) return {status.code(), window.story(Clock::now())};
    log_warning("{}; restart {} of {} in {} minutes, after {} s", why, window.num_restarts(), job_.restarts,
                RestartWindow::kWindow.count(), pause->count());
    OCTET_RETURN_IF_ERROR(wait_before_restart(*pause));
  }
}

Result<Supervisor::End> Supervisor::run_once() {
  output_ = LauncherOutput();
  deadline_.reset();
  too_late_.clear();
  start_ = StartClock(job_.start_limit, Clock::now());
  OCTET_ASSIGN_OR_RETURN(JobDesk desk, JobDesk::open(job_.num_ranks, job_.several_hosts, job_.interface));
  ChildOptions options{.own_group = own_group_, .no_input = job_.is_service, .environment = job_.environment};
  options.environment.push_back(fmt::format("{}={}", kJobVariable, desk.invitation()));
  OCTET_ASSIGN_OR_RETURN(ChildProcess child, ChildProcess::start(job_.command, options));
  watch(child, desk);
  return end_of(child, desk);
}

// Until the launcher has ended.
void Supervisor::watch(ChildProcess& child, JobDesk& desk) {
  bool reads_errors = true;
  std::vector<pollfd> events;
  do {
    const int errors = reads_errors ? child.errors() : -1;
    events = {{child.exited(), POLLIN, 0}, {signals_.get(), POLLIN, 0}, {errors, POLLIN, 0}};
    desk.add_events(events);
    const int wait = longest_wait();
    if (wait == 0) return child.send(SIGKILL);
    poll(events.data(), events.size(), wait);
    if (events[1].revents != 0) take_signal(child);
    hear_desk(desk);
    hurry_start(child, desk);
    if (events[2].revents != 0) {
      std::string piece;
      reads_errors = read_some(child.errors(), piece);
      write_errors(output_.take(piece, Clock::now()));
    }
    write_errors(output_.overdue(Clock::now()));
  } while (events[0].revents == 0);
}

// Milliseconds until something is to be done; -1: nothing. 0: the launcher's time is over.
int Supervisor::longest_wait() const {
  const auto now = Clock::now();
  const auto until = [now](Clock::time_point time) {
    return static_cast<int>(std::max<int64_t>(0, std::chrono::ceil<milliseconds>(time - now).count()));
  };
  int wait = deadline_ ? until(*deadline_) : -1;
  const bool hurries = !deadline_ && output_.is_launchers_own();
  for (const auto& due : {output_.due(), hurries ? start_.deadline() : std::nullopt}) {
    if (due && (wait < 0 || until(*due) < wait)) wait = std::max(1, until(*due));
  }
  return wait;
}

void Supervisor::hear_desk(JobDesk& desk) {
  const std::string log = desk.take();
  if (desk.anybody_came() && !output_.news().has_started) write_errors(output_.job_has_started());
  write_errors(log);
  if (!desk.verdict().empty() && !deadline_) deadline_ = Clock::now() + kEndingTime;
}

// Ends a job whose ranks do not find together. Where ranks cannot report, nobody knows.
void Supervisor::hurry_start(const ChildProcess& child, const JobDesk& desk) {
  const auto now = Clock::now();
  start_.look(desk.ranks(), now);
  const auto deadline = start_.deadline();
  if (deadline_ || !deadline || *deadline > now || !output_.is_launchers_own()) return;
  too_late_ = fmt::format("the start took longer than --start-limit {} s: {}", job_.start_limit.count(),
                          who_is_missing(desk.ranks(), job_.host_of_rank));
  deadline_ = now + kEndingTime;
  child.send(SIGTERM);
}

// Passes on what is still under way, until nothing has come for a while. What the launcher leaves, such as an ssh whose
// other host is beyond a cut, would hold this job's output for long.
Supervisor::End Supervisor::end_of(ChildProcess& child, JobDesk& desk) {
  const int wait_status = child.wait();
  desk.end_processes();
  const auto enough = Clock::now() + kLastWords;
  for (bool ended = false; Clock::now() < enough;) {
    std::vector<pollfd> events = {{ended ? -1 : child.errors(), POLLIN, 0}};
    desk.add_events(events);
    if (poll(events.data(), events.size(), static_cast<int>(kStragglers.count())) <= 0) break;
    hear_desk(desk);
    std::string piece;
    if (events[0].revents != 0) ended = !read_some(child.errors(), piece);
    write_errors(output_.take(piece, Clock::now()));
    if (ended && !desk.has_callers()) break;
  }
  end_orphans(enough);
  hear_desk(desk);
  write_errors(desk.finish());
  write_errors(output_.finish(/*failed=*/wait_status != 0));
  if (!too_late_.empty()) return {failed("{}", too_late_)};
  JobNews news = output_.news();
  news.verdict = desk.verdict();
  return {job_status(wait_status, news), news.has_started};
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

Status Supervisor::wait_before_restart(seconds pause) const {
  pollfd signal{signals_.get(), POLLIN, 0};
  if (poll(&signal, 1, static_cast<int>(milliseconds(pause).count())) > 0) return {StatusCode::kInterrupted, ""};
  return ok_status();
}

}  // namespace octet
