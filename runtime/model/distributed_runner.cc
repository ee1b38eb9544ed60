#include "runtime/model/distributed_runner.h"

#include <cstring>
#include <span>

#include "runtime/base/out_of_memory.h"

namespace octet {
namespace {

// A plan is a row of 32-bit integers, each list behind its length. An empty message says goodbye.
class IntWriter {
 public:
  explicit IntWriter(std::vector<std::byte>& bytes) : bytes_(bytes) { bytes_.clear(); }

  void add(int64_t value) {
    const int32_t narrow = static_cast<int32_t>(value);
    add_all(std::span(&narrow, 1));
  }
  void add_list(std::span<const int32_t> values) {
    add(std::ssize(values));
    add_all(values);
  }

 private:
  void add_all(std::span<const int32_t> values) {
    const auto bytes = std::as_bytes(values);
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }

  std::vector<std::byte>& bytes_;
};

class IntReader {
 public:
  explicit IntReader(std::span<const std::byte> bytes) : rest_(bytes) {}

  int32_t next() {
    int32_t value = 0;
    take(&value, 1);
    return value;
  }
  void next_list(std::vector<int32_t>& values) {
    values.resize(static_cast<size_t>(next()));
    take(values.data(), values.size());
  }
  bool at_end() const { return rest_.empty(); }

 private:
  void take(int32_t* values, size_t count) {
    OCTET_CHECK(rest_.size() >= count * sizeof(int32_t), "truncated step plan");
    if (count > 0) std::memcpy(values, rest_.data(), count * sizeof(int32_t));
    rest_ = rest_.subspan(count * sizeof(int32_t));
  }

  std::span<const std::byte> rest_;
};

}  // namespace

void serialise_plan(const StepPlan& plan, std::vector<std::byte>& bytes) {
  IntWriter out(bytes);
  out.add(static_cast<int64_t>(plan.step & 0x7fffffffU));
  out.add(plan.wants_totals ? 1 : 0);
  out.add(plan.wants_experts ? 1 : 0);
  out.add(std::ssize(plan.groups));
  for (const GroupPlan& group : plan.groups) {
    out.add_list(group.token_ids);
    out.add_list(group.logit_rows);
    out.add(std::ssize(group.sequences));
    for (size_t s = 0; s < group.sequences.size(); ++s) {
      out.add(group.sequences[s].first_row);
      out.add(group.sequences[s].num_rows);
      out.add(group.sequences[s].first_position);
      out.add_list(group.page_tables[s]);
    }
  }
}

void parse_plan(const std::vector<std::byte>& bytes, StepPlan& plan) {
  IntReader in(bytes);
  plan.step = static_cast<uint64_t>(in.next());
  plan.wants_totals = in.next() != 0;
  plan.wants_experts = in.next() != 0;
  plan.groups.resize(static_cast<size_t>(in.next()));
  for (GroupPlan& group : plan.groups) {
    in.next_list(group.token_ids);
    in.next_list(group.logit_rows);
    group.sequences.resize(static_cast<size_t>(in.next()));
    group.page_tables.resize(group.sequences.size());
    for (size_t s = 0; s < group.sequences.size(); ++s) {
      group.sequences[s].first_row = in.next();
      group.sequences[s].num_rows = in.next();
      group.sequences[s].first_position = in.next();
      in.next_list(group.page_tables[s]);
    }
  }
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
