#include "launcher/job/launcher_output.h"

#include <fmt/format.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <sstream>
#include <utility>

#include "launcher/job/job_line.h"

namespace octet {
namespace {

constexpr std::string_view kLostConnection = "its connection closed without a goodbye";
constexpr std::chrono::seconds kBannerTime{1};  // mpirun writes one at once
constexpr size_t kMaxBannerLines = 100;
constexpr std::chrono::seconds kEarlyTime{10};
constexpr size_t kMaxEarly = size_t{1} << 16;

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

// mpirun frames its own messages with lines of dashes.
bool is_frame(const std::string& line) { return line.size() > 60 && line.find_first_not_of('-') == std::string::npos; }

// Messages that only repeat what the ranks' lines or the job's end say.
bool is_repetition(const std::string& banner) {
  constexpr std::string_view kRepetitions[] = {"Primary job  terminated normally",
                                               "detected that one or more processes exited with non-zero status",
                                               "mpirun has exited due to process rank", "MPI_ABORT was invoked",
                                               "MPI communication peer process has unexpectedly disconnected"};
  return std::ranges::any_of(kRepetitions, [&](std::string_view part) { return has(banner, part); });
}

// What srun says of tasks that ended: "srun: error: node2: task 3: Killed", "srun: error: node2: tasks 0-1: Killed".
struct EndedTask {
  std::string host;
  int rank = 0;  // the first of several
  std::string how;
};

std::optional<EndedTask> task_ended_by_srun(const std::string& line) {
  EndedTask task;
  std::array<char, 256> host{}, how{};
  const bool one =
      std::sscanf(line.c_str(), "srun: error: %255[^:]: task %d: %255[^\n]", host.data(), &task.rank, how.data()) == 3;
  if (!one && std::sscanf(line.c_str(), "srun: error: %255[^:]: tasks %d%*[^:]: %255[^\n]", host.data(), &task.rank,
                          how.data()) != 3) {
    return std::nullopt;
  }
  task.host = host.data();
  task.how = how.data();
  return task;
}

// Slurm ends a step when a task ends it, which has been told, or for a reason of its own: "... DUE TO TIME LIMIT ***".
bool is_chatter_of_slurm(const std::string& line) {
  constexpr std::string_view kStarts[] = {"srun: Job step aborted", "srun: Terminating", "srun: Force Terminated",
                                          "srun: forcing job termination", "srun: launch/slurm: _step_signal: "};
  if (std::ranges::any_of(kStarts, [&](std::string_view start) { return line.starts_with(start); })) return true;
  if (line.starts_with("slurmstepd")) return has(line, ": error: *** ") && !has(line, "DUE TO");
  constexpr std::string_view kToldByRanks[] = {"Exited with exit code 1", "Exited with exit code 2",
                                               "Exited with exit code 3", "Exited with exit code 130"};
  const auto task = task_ended_by_srun(line);
  return task && std::ranges::find(kToldByRanks, task->how) != std::end(kToldByRanks);
}

// Lines of the launcher outside of its banners that tell a user nothing.
bool is_chatter(const std::string& line) {
  constexpr std::string_view kStarts[] = {"mpirun: Forwarding signal", "mpirun: killing job",
                                          "mpirun: abort is already in progress"};
  if (std::ranges::any_of(kStarts, [&](std::string_view start) { return line.starts_with(start); })) return true;
  if (is_chatter_of_slurm(line)) return true;
  constexpr std::string_view kParts[] = {"] PMIX ERROR", "] mpirun: SIGPIPE detected on fd",
                                         "more process has sent help message", "more processes have sent help message",
                                         "Set MCA parameter \"orte_base_help"};
  return line.starts_with('[') && std::ranges::any_of(kParts, [&](std::string_view part) { return has(line, part); });
}

// "mpirun noticed that process rank 1 with PID 0 on node b exited on signal 9 (Killed)."
std::optional<KilledRank> killed_by_mpirun(const std::string& banner) {
  const size_t begin = banner.find("process rank ");
  KilledRank killed;
  std::array<char, 256> host{}, signal{};
  if (begin == std::string::npos ||
      std::sscanf(banner.c_str() + begin, "process rank %d with PID %*d on node %255s exited on %255[^.\n]",
                  &killed.rank, host.data(), signal.data()) != 3) {
    return std::nullopt;
  }
  killed.host = host.data();
  killed.signal = signal.data();
  return killed;
}

std::optional<KilledRank> killed_by_srun(const std::string& line) {
  const auto task = task_ended_by_srun(line);
  if (!task || has(task->how, "Exited with exit code")) return std::nullopt;
  return KilledRank{task->rank, task->host, fmt::format("a signal ({})", task->how)};
}

std::string lost_rank_line(const JobNews& news) {
  if (!news.killed) return news.verdict;
  const KilledRank& killed = *news.killed;
  const std::string cause = "killed by " + killed.signal;
  int rank = 0;
  if (std::sscanf(news.verdict.c_str(), "rank %d", &rank) != 1) {
    return fmt::format("rank {} (host {}) died: {}", killed.rank, killed.host, cause);
  }
  std::string line = news.verdict;
  const size_t at = line.find(kLostConnection);
  if (rank == killed.rank && at != std::string::npos) line.replace(at, kLostConnection.size(), cause);
  return line;
}

}  // namespace

std::string LauncherOutput::take(std::string_view piece, Clock::time_point now) {
  std::string passed;
  unfinished_ += piece;
  size_t begin = 0;
  for (size_t end = 0; (end = unfinished_.find('\n', begin)) != std::string::npos; begin = end + 1) {
    passed += take_line(unfinished_.substr(begin, end - begin), now);
  }
  unfinished_.erase(0, begin);
  return passed;
}

std::string LauncherOutput::job_has_started() {
  news_.has_started = true;
  keeps_early_ = false;
  early_since_.reset();
  return std::exchange(early_, "");
}

std::optional<LauncherOutput::Clock::time_point> LauncherOutput::due() const {
  std::optional<Clock::time_point> due;
  if (!banner_.empty()) due = banner_since_ + kBannerTime;
  if (early_since_ && (!due || *early_since_ + kEarlyTime < *due)) due = *early_since_ + kEarlyTime;
  return due;
}

std::string LauncherOutput::overdue(Clock::time_point now) {
  std::string passed;
  if (!banner_.empty() && banner_since_ + kBannerTime <= now) passed += pass(give_up_banner(), now);
  if (!early_since_ || *early_since_ + kEarlyTime > now) return passed;
  keeps_early_ = false;
  early_since_.reset();
  return std::exchange(early_, "") + passed;
}

std::string LauncherOutput::finish(bool failed) {
  std::string rest = give_up_banner();
  if (!unfinished_.empty()) rest += unfinished_ + '\n';
  unfinished_.clear();
  const std::string all = std::exchange(early_, "") + rest;
  if (!failed || news_.has_started) return all;
  if (news_.complaint.empty()) news_.complaint = first_complaint(all);
  return keeps_early_ ? "" : all;
}

std::string LauncherOutput::take_line(const std::string& line, Clock::time_point now) {
  if (has(line, kNoticeOfDetour)) is_launchers_own_ = false;
  if (!is_launchers_own_) return job_has_started() + give_up_banner() + line + '\n';
  if (!banner_.empty() || is_frame(line)) {
    if (banner_.empty()) banner_since_ = now;
    banner_.push_back(line);
    if (banner_.size() == 1) return "";
    if (is_frame(line)) return pass(end_banner(), now);
    return banner_.size() > kMaxBannerLines ? pass(give_up_banner(), now) : "";
  }
  if (auto task = task_ended_by_srun(line)) news_.has_started = true;
  if (is_chatter(line)) return "";
  if (auto killed = killed_by_srun(line)) {
    if (!news_.killed) news_.killed = std::move(killed);
    return "";
  }
  return pass(line + '\n', now);
}

// The text of it, if it tells anything new.
std::string LauncherOutput::end_banner() {
  const std::string text = give_up_banner();
  if (auto killed = killed_by_mpirun(text)) {
    news_.has_started = true;
    if (!news_.killed) news_.killed = std::move(killed);
    return "";
  }
  if (!is_repetition(text)) return text;
  news_.has_started = true;
  return "";
}

std::string LauncherOutput::give_up_banner() {
  std::string text;
  for (const std::string& line : banner_) text += line + '\n';
  banner_.clear();
  return text;
}

std::string LauncherOutput::pass(const std::string& text, Clock::time_point now) {
  if (news_.has_started) return job_has_started() + text;
  if (!keeps_early_) return text;
  if (!text.empty() && !early_since_) early_since_ = now;
  early_ += text;
  if (early_.size() <= kMaxEarly) return "";
  news_.complaint = first_complaint(early_);
  keeps_early_ = false;
  early_since_.reset();
  return std::exchange(early_, "");
}

// Of mpirun's banners the first paragraph, and the second where the first only leads to it.
std::string first_complaint(const std::string& text) {
  constexpr size_t kMostBytes = 400;
  std::string complaint;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line) && complaint.size() < kMostBytes;) {
    if (has(line, "ORTE_ERROR_LOG")) continue;  // for its developers
    const size_t begin = line.find_first_not_of("- \t\r"), end = line.find_last_not_of(" \t\r");
    if (begin == std::string::npos) {
      if (!complaint.empty() && !complaint.ends_with(':')) break;
      continue;
    }
    complaint += (complaint.empty() ? "" : " ") + line.substr(begin, end + 1 - begin);
  }
  if (complaint.size() > kMostBytes) complaint.resize(kMostBytes);
  return complaint;
}

Status job_status(int wait_status, const JobNews& news) {
  if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0) return ok_status();
  if (!news.verdict.empty() || news.killed) return {StatusCode::kRankLost, lost_rank_line(news)};
  if (WIFSIGNALED(wait_status)) {
    return failed("the job's launcher was ended by signal {} ({})", WTERMSIG(wait_status),
                  strsignal(WTERMSIG(wait_status)));
  }
  const int code = WEXITSTATUS(wait_status);
  if (!news.has_started) {
    return failed("the job cannot be started: {} (exit status {} of the launcher)",
                  news.complaint.empty() ? "the launcher gave no reason" : news.complaint, code);
  }
  for (const StatusCode said : {StatusCode::kInvalidInput, StatusCode::kRankLost, StatusCode::kInterrupted}) {
    if (code == Status(said, "").exit_code()) return {said, ""};
  }
  // A launcher ends like a shell: 128 and the number of the signal that ended a rank.
  if (code > 128 && code <= 128 + SIGRTMAX) {
    return {StatusCode::kRankLost,
            fmt::format("a rank died: killed by signal {} ({})", code - 128, strsignal(code - 128))};
  }
  return {StatusCode::kFailed, ""};
}

}  // namespace octet
