// Products of rows with packed weights, dense and grouped by expert.
//
// A call is cut into row blocks (rows of one expert that share one pass over its weights) of register tiles, and each
// row block into tasks of neighbouring column blocks. Tasks of all experts form one loop, so threads share the bytes
// and the multiplications, not the experts. A row block that is a single tile streams its weights from memory; one of
// several tiles goes over the inputs in pieces, so that weights and rows of a piece stay in cache for all its tiles.
// Both run the same chain of operations for an element, so bits depend on neither.
#pragma once

#include <span>
#include <vector>

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/thread_scratch.h"
#include "kernels/weight.h"
#include "runtime/base/thread_pool.h"

namespace octet {

// One call. Rows [offsets[e], offsets[e + 1]) of y belong to experts[e].
struct GroupedCall {
  const float* x = nullptr;                 // [*, num_inputs]
  const int32_t* assignment_row = nullptr;  // the row of x behind each row of y; null: the same
  std::span<const int32_t> offsets;         // [experts + 1]
  std::span<const Weight> experts;
  float* y = nullptr;  // [offsets.back(), num_outputs]
};

// Keeps its working memory between calls; one thread calls at a time.
class GroupedProduct {
 public:
  GroupedProduct(const KernelTable& kernels, ThreadPool& pool)
      : kernels_(kernels), pool_(pool), scratch_(pool.num_threads()) {}

  void run(const GroupedCall& call);

 private:
  // Rows that are multiplied together.
  struct RowTile {
    int64_t first_row = 0;  // of y
    int rows = 0;
    const float* a = nullptr;   // [num_inputs, rows]
    int64_t packed_offset = 0;  // of a in packed_; negative: a is the row of x itself
  };
  // Tiles of one expert that share a pass over its weights.
  struct RowBlock {
    const Weight* weight = nullptr;
    int64_t first_tile = 0;
    int64_t num_tiles = 0;
    int64_t num_rows = 0;
    int64_t blocks_per_task = 0;
    int64_t end_task = 0;  // tasks of this and all earlier row blocks of the batch
  };
  struct Task {
    const RowBlock* rows;
    int64_t first_block;
    int64_t num_blocks;
    float* scratch;
  };

  const float* x_row(const GroupedCall& call, int64_t row) const;
  void plan_rows(const GroupedCall& call);
  void plan_expert(const GroupedCall& call, size_t expert);
  // Packs and multiplies the row blocks [first, end).
  void run_batch(const GroupedCall& call, size_t first, size_t end);
  void pack_tiles(const GroupedCall& call, const RowBlock& first, const RowBlock& last);
  void plan_tasks(size_t first, size_t end);
  void multiply(const Task& task, float* y) const;
  // Adds the products of inputs [begin, end) to `sums`, or starts it with them. sums: for each tile [blocks, rows, 32].
  void add_inputs(const Task& task, int64_t begin, int64_t end, bool start, float* sums) const;
  // Writes the finished sums [rows, 32] of one column block to y.
  void store(const Weight& weight, const float* sums, int64_t first_row, int64_t rows, int64_t block, float* y) const;

  const KernelTable& kernels_;
  ThreadPool& pool_;
  ThreadScratch scratch_;
  Buffer packed_;  // tiles of gathered rows
  std::vector<RowTile> tiles_;
  std::vector<RowBlock> row_blocks_;
};

}  // namespace octet
