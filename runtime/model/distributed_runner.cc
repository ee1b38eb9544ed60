#include "runtime/model/distributed_runner.h"

#include "runtime/base/check.h"
#include "runtime/base/out_of_memory.h"
#include "runtime/base/pack.h"

namespace octet {

// 32-bit integers, each list behind its length. An empty message says goodbye.
void serialise_plan(const StepPlan& plan, std::vector<std::byte>& bytes) {
  const auto size_of = [](const auto& list) { return static_cast<int32_t>(list.size()); };
  Packer out(std::move(bytes));
  out.int32(static_cast<int32_t>(plan.step & 0x7fffffffU));
  out.int32(plan.wants_totals ? 1 : 0).int32(plan.wants_experts ? 1 : 0).int32(size_of(plan.groups));
  for (const GroupPlan& group : plan.groups) {
    out.int32s(group.token_ids).int32s(group.logit_rows).int32(size_of(group.sequences));
    for (size_t s = 0; s < group.sequences.size(); ++s) {
      out.int32(static_cast<int32_t>(group.sequences[s].first_row));
      out.int32(static_cast<int32_t>(group.sequences[s].num_rows));
      out.int32(static_cast<int32_t>(group.sequences[s].first_position));
      out.int32s(group.page_tables[s]);
    }
  }
  bytes = out.take();
}

void parse_plan(const std::vector<std::byte>& bytes, StepPlan& plan) {
  Unpacker in(bytes);
  plan.step = static_cast<uint64_t>(in.int32());
  plan.wants_totals = in.int32() != 0;
  plan.wants_experts = in.int32() != 0;
  plan.groups.resize(static_cast<size_t>(in.int32()));
  for (GroupPlan& group : plan.groups) {
    in.int32s(group.token_ids);
    in.int32s(group.logit_rows);
    group.sequences.resize(static_cast<size_t>(in.int32()));
    group.page_tables.resize(group.sequences.size());
    for (size_t s = 0; s < group.sequences.size(); ++s) {
      group.sequences[s].first_row = in.int32();
      group.sequences[s].num_rows = in.int32();
      group.sequences[s].first_position = in.int32();
      in.int32s(group.page_tables[s]);
    }
  }
  OCTET_CHECK(in.ok(), "truncated step plan");
  OCTET_CHECK(in.at_end(), "bytes behind a step plan");
}

LeadingRunner::~LeadingRunner() {
  message_.clear();
  world_.host().broadcast(message_, /*root=*/0);
}

Status LeadingRunner::begin(const StepPlan& plan) {
  world_.progress().set_idle(false);
  world_.progress().set_place(kNoLayer, Phase::kPlan);
  serialise_plan(plan, message_);
  world_.host().broadcast(message_, /*root=*/0);
  const Status begun = or_out_of_memory([&] { return local_.begin(plan); });
  if (!begun.ok()) world_.fail(begun);  // the followers are in the middle of this step
  return begun;
}

Result<StepResult> LeadingRunner::wait() {
  auto result = or_out_of_memory([&] { return local_.wait(); });
  if (!result.ok()) world_.fail(result.status());
  world_.progress().set_idle(true);  // until the engine has decided on the next step
  return result;
}

Status follow(CommWorld& world, ModelRunner& local) {
  std::vector<std::byte> message;
  StepPlan plan;
  for (;;) {
    world.progress().set_place(kNoLayer, Phase::kPlan);
    world.host().broadcast(message, /*root=*/0);
    if (message.empty()) return ok_status();
    parse_plan(message, plan);
    OCTET_RETURN_IF_ERROR(or_out_of_memory([&] { return local.run(plan); }).status());
  }
}

}  // namespace octet
