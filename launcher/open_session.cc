#include "launcher/open_session.h"

#include <optional>
#include <utility>

#include "launcher/interrupt.h"
#include "launcher/job/job_line.h"
#include "launcher/job/launcher_daemon.h"
#include "launcher/model_options.h"
#include "launcher/output.h"
#include "runtime/base/human_bytes.h"

namespace octet {
namespace {

RankStage rank_stage(SessionStage stage) {
  switch (stage) {
    case SessionStage::kJoining:
      return RankStage::kJoining;
    case SessionStage::kOpening:
      return RankStage::kOpening;
    case SessionStage::kJoined:
      return RankStage::kJoined;
  }
  return RankStage::kStarted;
}

class LauncherObserver final : public SessionObserver {
 public:
  explicit LauncherObserver(std::function<void(const JobFailure&)> on_failure) : on_failure_(std::move(on_failure)) {}

  void on_stage(SessionStage stage) override { report_stage(rank_stage(stage)); }

  void on_loading(int64_t bytes, int64_t total_bytes) override {
    if (!bar_) bar_.emplace("loading", total_bytes, human_bytes(total_bytes));
    bar_->update(bytes);
  }
  void on_loading_end() override { bar_.reset(); }

  Status check_interrupted() override { return octet::check_interrupted(); }

  bool tell(const JobFailure& failure) override {
    return failure.exit_code == Status(StatusCode::kRankLost, "").exit_code() &&
           JobLine::get().report({.stage = {}, .verdict = failure.line});
  }
  void on_job_failure(const JobFailure& failure) override {
    if (on_failure_) on_failure_(failure);
    if (failure.silent && failure.rank == 0) end_launcher_daemon();
  }

 private:
  const std::function<void(const JobFailure&)> on_failure_;
  std::optional<ProgressBar> bar_;
};

}  // namespace

Result<std::unique_ptr<Session>> open_session(const ModelFlags& flags, const SessionNeeds& needs,
                                              std::function<void(const JobFailure&)> on_job_failure) {
  return Session::open(session_options(flags), needs, std::make_unique<LauncherObserver>(std::move(on_job_failure)));
}

}  // namespace octet
