#include "comm/watchdog.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <future>
#include <numeric>

#include "runtime/base/check.h"
#include "runtime/base/log.h"

namespace octet {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kLongestWait{100};       // between two looks at the links
constexpr milliseconds kTellingTime{200};       // for a failure to reach the others
constexpr milliseconds kAbortTime{2'000};       // for the device to leave its collectives
constexpr milliseconds kRank0Answer{3'000};     // to a failure that this rank reported
constexpr milliseconds kRank1SpeaksFor{2'500};  // others leave the line on rank 0's loss to rank 1, which ends the job

// The ranks that `rank` judges.
std::vector<int> watched_by(int rank, int num_ranks) {
  if (rank != 0) return {0};
  std::vector<int> others(static_cast<size_t>(num_ranks - 1));
  std::iota(others.begin(), others.end(), 1);
  return others;
}

// Signals are for the other threads.
std::jthread start_without_signals(const std::function<void(std::stop_token)>& body) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::jthread thread(body);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

// A device that does not answer must not keep the process.
void abort_collectives(CommWorld& world) {
  const auto aborted = std::make_shared<std::promise<void>>();
  std::thread([&world, aborted] {
    world.abort();
    aborted->set_value();
  }).detach();
  aborted->get_future().wait_for(kAbortTime);
}

std::vector<std::string> gather_host_names(CommWorld& world) {
  std::vector<std::string> names;
  for (const auto& name : world.host().all_gather(std::as_bytes(std::span(world.host_name())))) {
    names.emplace_back(reinterpret_cast<const char*>(name.data()), name.size());
  }
  return names;
}

}  // namespace

Result<std::unique_ptr<Watchdog>> Watchdog::start(CommWorld& world, WatchdogOptions options) {
  if (options.limits.silence < 2 * options.interval) {
    return invalid_input("heartbeat limit {} ms: must be at least two intervals of {} ms",
                         options.limits.silence.count(), options.interval.count());
  }
  OCTET_ASSIGN_OR_RETURN(std::vector<RankLink> links, connect_watchdogs(world, options.address));
  return std::unique_ptr<Watchdog>(new Watchdog(world, std::move(options), gather_host_names(world), std::move(links)));
}

Watchdog::Watchdog(CommWorld& world, WatchdogOptions options, std::vector<std::string> hosts,
                   std::vector<RankLink> links)
    : options_(std::move(options)),
      rank_(world.rank()),
      host_name_(world.host_name()),
      world_(world),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      judge_(rank_, std::move(hosts), watched_by(rank_, world.size()), options_.limits, clock_),
      links_(std::move(links)),
      last_look_(Clock::now()),
      thread_(start_without_signals([this](const std::stop_token& stop) { run(stop); })) {
  world_.set_failure_handler([this](const Status& status) { end_job(status); });
}

Watchdog::~Watchdog() {
  world_.set_failure_handler({});
  thread_.request_stop();
  eventfd_write(wake_.get(), 1);
  thread_.join();
}

void Watchdog::run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    wait_for_news();
    advance_clock();
    send_beats();
    if (const auto told = hear_all()) end_told(*told);
    std::unique_lock lock(mutex_);
    if (const auto own = own_failure_) {
      lock.unlock();
      if (rank_ != 0) report_to_rank_0(*own);
      end(*own, true);
    }
    if (const auto found = judge_.verdict(clock_)) {
      lock.unlock();
      if (rank_ > 1) std::this_thread::sleep_for(kRank1SpeaksFor);
      end(*found, true);
    }
  }
  for (RankLink& other : links_) {
    other.link.send(MessageType::kGoodbye, {});
    other.link.finish_sending();
  }
}

void Watchdog::wait_for_news() const {
  std::vector<pollfd> fds = {{wake_.get(), POLLIN, 0}};
  for (const RankLink& other : links_) fds.push_back({other.link.closed() ? -1 : other.link.fd(), POLLIN, 0});
  poll(fds.data(), fds.size(), static_cast<int>(std::min(options_.interval / 4, kLongestWait).count()));
  eventfd_t num_wakes = 0;
  eventfd_read(wake_.get(), &num_wakes);
}

// A gap longer than the loop can explain was this process's own: it counts as two heartbeats at most, so that after it
// the others' heartbeats, which wait in the links, are heard before anybody is judged.
void Watchdog::advance_clock() {
  const auto now = Clock::now();
  const std::lock_guard lock(mutex_);
  clock_ += std::min<Time>(now - last_look_, options_.interval * 2);
  last_look_ = now;
}

void Watchdog::send_beats() {
  ProgressReport report = world_.progress().report();
  if (clock_ >= next_beat_) {
    const std::vector<std::byte> beat = pack_report(report);
    for (RankLink& other : links_) other.link.send(MessageType::kBeat, beat);
    next_beat_ = clock_ + options_.interval;
  }
  const std::lock_guard lock(mutex_);
  judge_.heard(rank_, std::move(report), clock_);
}

// Takes all messages. Returns the failure that another rank reports, if one does.
std::optional<JobFailure> Watchdog::hear_all() {
  for (RankLink& other : links_) {
    while (const auto message = other.link.next()) {
      if (auto failure = take_message(other, *message)) return failure;
    }
    if (!other.link.closed()) continue;
    const std::lock_guard lock(mutex_);
    judge_.lost(other.rank, clock_);
  }
  return std::nullopt;
}

std::optional<JobFailure> Watchdog::take_message(RankLink& from, const Message& message) {
  if (message.type == MessageType::kFailure) {
    auto failure = unpack_failure(message.payload);
    if (failure.ok()) return *std::move(failure);
  }
  const std::lock_guard lock(mutex_);
  if (message.type == MessageType::kGoodbye) judge_.left(from.rank);
  if (message.type == MessageType::kBeat) {
    auto report = unpack_report(message.payload);
    if (report.ok()) judge_.heard(from.rank, *std::move(report), clock_);
  }
  return std::nullopt;
}

// Called with mutex_ free, for on_failure may ask for heartbeat_ages.
void Watchdog::end(const JobFailure& failure, bool print) {
  if (print && !(options_.tell && options_.tell(failure))) log_error("{}", failure.line);
  if (options_.on_failure) options_.on_failure(failure);
  if (print || rank_ == 0) tell_everybody(failure);
  abort_collectives(world_);
  end_process(failure.exit_code);
}

// Who tells has printed the line: rank 0, or a rank that has given up on rank 0. Only a rank that failed itself asks
// rank 0 to print its line.
void Watchdog::end_told(const JobFailure& failure) { end(failure, rank_ == 0 && failure.rank != 0); }

// Rank 0 will tell everybody, this rank included. Returns if it does not.
void Watchdog::report_to_rank_0(const JobFailure& failure) {
  for (RankLink& other : links_) other.link.send(MessageType::kFailure, pack_failure(failure));
  const auto deadline = Clock::now() + kRank0Answer;
  while (Clock::now() < deadline) {
    wait_for_news();
    if (const auto told = hear_all()) end_told(*told);
  }
}

void Watchdog::tell_everybody(const JobFailure& failure) {
  for (RankLink& other : links_) {
    other.link.send(MessageType::kFailure, pack_failure(failure));
    other.link.finish_sending();
  }
  // What is still unread when this process ends would make the system throw away what it has sent.
  const auto deadline = Clock::now() + kTellingTime;
  while (Clock::now() < deadline && std::ranges::any_of(links_, [](RankLink& other) { return !other.link.closed(); })) {
    wait_for_news();
    for (RankLink& other : links_) {
      while (other.link.next()) continue;
    }
  }
}

void Watchdog::end_job(const Status& status) {
  OCTET_CHECK(!status.ok());
  {
    const std::lock_guard lock(mutex_);
    const std::string line = fmt::format("rank {} (host {}): {}", rank_, host_name_, status.message());
    own_failure_ = JobFailure{status.exit_code(), rank_, line};
  }
  eventfd_write(wake_.get(), 1);
  while (true) pause();  // the thread ends the process
}

std::vector<double> Watchdog::heartbeat_ages() const {
  const std::lock_guard lock(mutex_);
  std::vector<double> ages;
  for (int rank = 0; rank < judge_.size(); ++rank) {
    ages.push_back(std::chrono::duration<double>(judge_.silence(rank, clock_)).count());
  }
  return ages;
}

}  // namespace octet
