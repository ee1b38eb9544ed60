#include "runtime/model/logits_collector.h"

#include <algorithm>

#include "parallel/shard_plan.h"

namespace octet {

LogitsCollector::LogitsCollector(const ModelRank& rank, int64_t vocab_size, int64_t max_rows)
    : rank_(rank),
      vocab_size_(vocab_size),
      send_counts_(static_cast<size_t>(rank.topology.world)),
      receive_counts_(static_cast<size_t>(rank.topology.world)) {
  if (!rank.leads()) return;
  const Shape all{rank.topology.dp * max_rows, vocab_size};
  if (rank.has_own_memory()) host_ = rank.backend.allocate_host_tensor(DType::kF32, all);
  if (rank.is_alone()) return;
  gathered_ = rank.backend.allocate_tensor(DType::kF32, {all.num_elements(), 1});
  all_ = rank.backend.allocate_tensor(DType::kF32, all);
}

// Elements that go to rank 0, and on rank 0 those that come whence.
void LogitsCollector::count_shards(const StepPlan& plan, int64_t my_elements) {
  const Topology& topology = rank_.topology;
  std::ranges::fill(send_counts_, 0);
  std::ranges::fill(receive_counts_, 0);
  send_counts_[0] = my_elements;
  for (int rank = 0; rank_.leads() && rank < topology.world; ++rank) {
    const Range columns = near_equal_part(vocab_size_, topology.tp, topology.tp_index(rank));
    const auto& rows = plan.groups[static_cast<size_t>(topology.dp_index(rank))].logit_rows;
    receive_counts_[static_cast<size_t>(rank)] = std::ssize(rows) * columns.size();
  }
}

TensorView LogitsCollector::collect(const StepPlan& plan, TensorView shard, Stream& stream) {
  if (rank_.is_alone()) return shard;
  int64_t num_rows = 0;
  for (const GroupPlan& group : plan.groups) num_rows += std::ssize(group.logit_rows);
  if (!rank_.leads()) num_rows = 0;
  count_shards(plan, shard.num_elements());
  const TensorView gathered{gathered_.view.data, DType::kF32, {num_rows * vocab_size_, 1}};
  rank_.comms.world.progress().set_place(kNoLayer, Phase::kLogits);
  rank_.comms.all->all_to_all_v({shard.data, DType::kF32, {shard.num_elements(), 1}}, send_counts_, gathered,
                                receive_counts_, stream);
  if (!rank_.leads()) return {nullptr, DType::kF32, {0, vocab_size_}};
  const TensorView all = all_.view.slice_rows(0, num_rows);
  place_columns(plan, gathered_.view.as<float>(), all, stream);
  return all;
}

void LogitsCollector::place_columns(const StepPlan& plan, float* gathered, TensorView out, Stream& stream) {
  int64_t first_row = 0;
  for (const GroupPlan& group : plan.groups) {
    const int64_t num_rows = std::ssize(group.logit_rows);
    const TensorView of_group = out.slice_rows(first_row, num_rows);
    for (int tp_index = 0; tp_index < rank_.topology.tp; ++tp_index) {
      const Range columns = near_equal_part(vocab_size_, rank_.topology.tp, tp_index);
      const TensorView part{gathered, DType::kF32, {num_rows, columns.size()}};
      rank_.backend.copy_columns(part, of_group, columns.begin, stream);
      gathered += part.num_elements();
    }
    first_row += num_rows;
  }
}

TensorView LogitsCollector::to_host(TensorView logits, Stream& stream) {
  if (!rank_.has_own_memory()) return logits;
  rank_.backend.download(logits, host_.view.data, stream);
  return {host_.view.data, logits.dtype, logits.shape};
}

}  // namespace octet
