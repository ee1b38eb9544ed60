// Rank 0 decides, every rank obeys: the leader's runner sends each plan to the followers before it runs it itself.
#pragma once

#include <cstddef>
#include <vector>

#include "comm/comm_world.h"
#include "runtime/model/model_runner.h"

namespace octet {

// A plan as flat bytes and back. Both ends are the same program, so a malformed message is a failed check.
void serialise_plan(const StepPlan& plan, std::vector<std::byte>& bytes);
void parse_plan(const std::vector<std::byte>& bytes, StepPlan& plan);

// Rank 0's view of the model of all ranks. Destroying it sends the followers home.
class LeadingRunner final : public ModelRunner {
 public:
  LeadingRunner(CommWorld& world, ModelRunner& local) : world_(world), local_(local) {
    world_.progress().set_idle(true);
  }
  ~LeadingRunner() override;
  LeadingRunner(const LeadingRunner&) = delete;
  LeadingRunner& operator=(const LeadingRunner&) = delete;

  int64_t max_rows() const override { return local_.max_rows(); }
  int64_t max_logit_rows() const override { return local_.max_logit_rows(); }
  int64_t num_pages() const override { return local_.num_pages(); }
  int64_t num_groups() const override { return local_.num_groups(); }
  int64_t vocab_size() const override { return local_.vocab_size(); }
  int64_t max_context() const override { return local_.max_context(); }
  Status begin(const StepPlan& plan) override;
  Result<StepResult> wait() override;

 private:
  CommWorld& world_;
  ModelRunner& local_;
  std::vector<std::byte> message_;
};

// A follower's life: runs the leader's plans until the leader is destroyed.
Status follow(CommWorld& world, ModelRunner& local);

}  // namespace octet
