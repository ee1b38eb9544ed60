#include "launcher/launcher_output.h"

#include <fmt/format.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

namespace octet {
namespace {

constexpr std::string_view kLostConnection = "its connection closed without a goodbye";

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
  constexpr std::string_view kStarts[] = {"mpirun: Forwarding signal", "mpirun: killing job"};
  if (std::ranges::any_of(kStarts, [&](std::string_view start) { return line.starts_with(start); })) return true;
  if (is_chatter_of_slurm(line)) return true;
  constexpr std::string_view kParts[] = {"] PMIX ERROR", "more process has sent help message",
                                         "more processes have sent help message", "Set MCA parameter \"orte_base_help"};
  return line.starts_with('[') && std::ranges::any_of(kParts, [&](std::string_view part) { return has(line, part); });
}

// "octet rank 0: rank 2 (host b) died: …" without its label; empty for any other line.
std::string verdict_of(const std::string& line) {
  const size_t label_end = line.find(": ");
  if (!line.starts_with("octet") || label_end == std::string::npos) return "";
  const std::string text = line.substr(label_end + 2);
  int rank = 0, verb = 0;
  if (std::sscanf(text.c_str(), "rank %d (host %*255[^)]) %n", &rank, &verb) != 1 || verb == 0) return "";
  const std::string_view said = std::string_view(text).substr(static_cast<size_t>(verb));
  constexpr std::string_view kVerdicts[] = {"died: ", "has been silent for ", "has waited for "};
  const bool is_verdict =
      std::ranges::any_of(kVerdicts, [&](std::string_view start) { return said.starts_with(start); });
  return is_verdict ? text : "";
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

std::string LauncherOutput::take(std::string_view piece) {
  std::string passed;
  unfinished_ += piece;
  size_t begin = 0;
  for (size_t end = 0; (end = unfinished_.find('\n', begin)) != std::string::npos; begin = end + 1) {
    passed += take_line(unfinished_.substr(begin, end - begin));
  }
  unfinished_.erase(0, begin);
  return passed;
}

std::string LauncherOutput::finish() {
  std::string passed;
  for (const std::string& line : banner_) passed += line + '\n';
  banner_.clear();
  if (!unfinished_.empty()) passed += take_line(unfinished_);
  unfinished_.clear();
  return passed;
}

std::string LauncherOutput::take_line(const std::string& line) {
  if (!banner_.empty()) {
    banner_.push_back(line);
    return is_frame(line) ? end_banner() : "";
  }
  if (is_frame(line)) {
    banner_.push_back(line);
    return "";
  }
  if (is_chatter(line)) return "";
  if (std::string verdict = verdict_of(line); !verdict.empty()) {
    if (news_.verdict.empty()) news_.verdict = std::move(verdict);
    return "";
  }
  if (auto killed = killed_by_srun(line)) {
    if (!news_.killed) news_.killed = std::move(killed);
    return "";
  }
  return line + '\n';
}

std::string LauncherOutput::end_banner() {
  std::string text;
  for (const std::string& line : banner_) text += line + '\n';
  banner_.clear();
  if (auto killed = killed_by_mpirun(text)) {
    if (!news_.killed) news_.killed = std::move(killed);
    return "";
  }
  return is_repetition(text) ? "" : text;
}

Status job_status(int wait_status, const JobNews& news) {
  if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0) return ok_status();
  if (!news.verdict.empty() || news.killed) return {StatusCode::kRankLost, lost_rank_line(news)};
  if (WIFSIGNALED(wait_status)) {
    return failed("the job's launcher was ended by signal {} ({})", WTERMSIG(wait_status),
                  strsignal(WTERMSIG(wait_status)));
  }
  const int code = WEXITSTATUS(wait_status);
  for (const StatusCode said : {StatusCode::kInvalidInput, StatusCode::kRankLost, StatusCode::kInterrupted}) {
    if (code == Status(said, "").exit_code()) return {said, ""};
  }
  if (code > 128) {
    return {StatusCode::kRankLost,
            fmt::format("a rank died: killed by signal {} ({})", code - 128, strsignal(code - 128))};
  }
  return {StatusCode::kFailed, ""};
}

}  // namespace octet
