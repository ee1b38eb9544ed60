#include "kernels/cpu/grouped_product.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/packed_weight.h"
#include "kernels/cpu/partial_tree.h"
#include "runtime/base/check.h"

namespace octet {
namespace {

// Inputs of a widened panel: 32 KiB, with a tile's rows within the first-level cache.
constexpr int64_t kPanelDepth = 256;
// Rows of a row block: its rows of one panel depth (256 KiB) and its sums stay in the second-level cache.
constexpr int64_t kMaxBlockRows = 256;
// Column blocks of a task that works with panels: each fetch of the rows from afar serves that many.
constexpr int64_t kPanelBlocksPerTask = 8;
// Weight bytes of a task that reads packed weights, at least: short against the step, long against claiming a task.
constexpr int64_t kPackedTaskBytes = 128 << 10;
// Tasks that every thread should get, so that uneven threads end together.
constexpr int64_t kTasksPerThread = 8;
// Packed rows of a batch in floats: bounds the working memory, whatever the number of rows.
constexpr int64_t kBatchFloats = 8 << 20;
// Rows are packed in pieces of that many inputs, one task each.
constexpr int64_t kPackDepth = 2048;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Adds the partial sums on top of the stack to those below, as often as the tree says after partial `leaf`.
// The stack holds `depth` runs of `count` floats; returns the new depth.
int merge_partials(const KernelTable& kernels, size_t leaf, size_t num_partials, int64_t count, int depth,
                   float* stack) {
  for (int merges = merges_after(leaf, num_partials); merges > 0; --merges, --depth) {
    kernels.accumulate(stack + (depth - 1) * count, count, stack + (depth - 2) * count);
  }
  return depth;
}

}  // namespace

const float* GroupedProduct::x_row(const GroupedCall& call, int64_t row) const {
  const int64_t source = call.assignment_row == nullptr ? row : call.assignment_row[row];
  return call.x + source * call.experts.front().num_inputs;
}

void GroupedProduct::run(const GroupedCall& call) {
  plan_rows(call);
  for (size_t first = 0; first < row_blocks_.size();) {
    size_t end = first;
    int64_t floats = 0;
    do {
      floats += row_blocks_[end].num_rows * row_blocks_[end].weight->num_inputs;
      ++end;
    } while (end < row_blocks_.size() &&
             floats + row_blocks_[end].num_rows * row_blocks_[end].weight->num_inputs <= kBatchFloats);
    run_batch(call, first, end);
    first = end;
  }
}

void GroupedProduct::plan_rows(const GroupedCall& call) {
  tiles_.clear();
  row_blocks_.clear();
  for (size_t e = 0; e < call.experts.size(); ++e) {
    if (call.offsets[e] < call.offsets[e + 1]) plan_expert(call, e);
  }
}

void GroupedProduct::plan_expert(const GroupedCall& call, size_t expert) {
  const Weight& weight = call.experts[expert];
  const int64_t num_rows = call.offsets[expert + 1] - call.offsets[expert];
  const int64_t num_tiles = divide_up(num_rows, kernels_.tile_rows);
  // Enough row blocks to keep all threads busy where there are few columns (the router), else as few as the cache allows.
  const int64_t column_tasks = divide_up(num_blocks(weight), kPanelBlocksPerTask);
  const int64_t wanted = divide_up(kTasksPerThread * pool_.num_threads(), column_tasks * 2);
  const int64_t block_tiles = std::clamp(num_tiles / wanted, int64_t{2}, kMaxBlockRows / kernels_.tile_rows);
  const int64_t num_row_blocks = divide_up(num_tiles, block_tiles);
  for (int64_t b = 0; b < num_row_blocks; ++b) {
    const int64_t first_tile = b * num_tiles / num_row_blocks;
    const int64_t end_tile = (b + 1) * num_tiles / num_row_blocks;
    RowBlock block{&weight, static_cast<int64_t>(tiles_.size()), end_tile - first_tile, 0, 0, 0};
    for (int64_t t = first_tile; t < end_tile; ++t) {
      const int64_t begin = t * num_rows / num_tiles;
      const int64_t end = (t + 1) * num_rows / num_tiles;
      tiles_.push_back({call.offsets[expert] + begin, static_cast<int>(end - begin), nullptr, 0});
      block.num_rows += end - begin;
    }
    row_blocks_.push_back(block);
  }
}

void GroupedProduct::run_batch(const GroupedCall& call, size_t first, size_t end) {
  pack_tiles(call, row_blocks_[first], row_blocks_[end - 1]);
  plan_tasks(first, end);
  const auto begin = row_blocks_.begin() + static_cast<std::ptrdiff_t>(first);
  const auto stop = row_blocks_.begin() + static_cast<std::ptrdiff_t>(end);
  pool_.parallel_for(row_blocks_[end - 1].end_task, [&](int64_t number, int thread) {
    const auto block =
        std::upper_bound(begin, stop, number, [](int64_t n, const RowBlock& candidate) { return n < candidate.end_task; });
    const int64_t place = number - (block == begin ? 0 : (block - 1)->end_task);
    const int64_t first_block = place * block->blocks_per_task;
    const int64_t count = std::min(block->blocks_per_task, num_blocks(*block->weight) - first_block);
    const Task task{&*block, first_block, count, scratch_.of(thread)};
    if (reads_packed(*block)) {
      multiply_packed(task, call.y);
    } else {
      multiply_panels(task, call.y);
    }
  });
}

void GroupedProduct::pack_tiles(const GroupedCall& call, const RowBlock& first, const RowBlock& last) {
  const int64_t num_inputs = call.experts.front().num_inputs;
  const int64_t end_tile = last.first_tile + last.num_tiles;
  int64_t floats = 0;
  for (int64_t t = first.first_tile; t < end_tile; ++t) {
    RowTile& tile = tiles_[static_cast<size_t>(t)];
    tile.packed_offset = tile.rows == 1 ? -1 : floats;
    if (tile.rows > 1) floats += tile.rows * num_inputs;
  }
  const size_t bytes = static_cast<size_t>(floats) * sizeof(float);
  if (bytes > packed_.size()) packed_ = Buffer::host(bytes);
  auto* packed = reinterpret_cast<float*>(packed_.data());
  const int64_t pieces = divide_up(num_inputs, kPackDepth);
  const auto pack = [&](int64_t task, int) {
    RowTile& tile = tiles_[static_cast<size_t>(first.first_tile + task / pieces)];
    if (tile.rows == 1) return;
    const int64_t begin = task % pieces * kPackDepth;
    const int64_t end = std::min(begin + kPackDepth, num_inputs);
    float* a = packed + tile.packed_offset;
    constexpr int64_t kRun = 16;  // a cache line of a row at a time
    for (int64_t run = begin; run < end; run += kRun) {
      for (int r = 0; r < tile.rows; ++r) {
        const float* row = x_row(call, tile.first_row + r);
        for (int64_t k = run; k < std::min(run + kRun, end); ++k) a[k * tile.rows + r] = row[k];
      }
    }
  };
  pool_.parallel_for(floats == 0 ? 0 : (end_tile - first.first_tile) * pieces, pack);
  for (int64_t t = first.first_tile; t < end_tile; ++t) {
    RowTile& tile = tiles_[static_cast<size_t>(t)];
    tile.a = tile.packed_offset < 0 ? x_row(call, tile.first_row) : packed + tile.packed_offset;
  }
}

bool GroupedProduct::reads_packed(const RowBlock& block) const {
  return block.num_tiles == 1 && block.num_rows <= kernels_.packed_rows;
}

void GroupedProduct::plan_tasks(size_t first, size_t end) {
  const int64_t wanted = divide_up(kTasksPerThread * pool_.num_threads(), static_cast<int64_t>(end - first));
  int64_t num_tasks = 0;
  int64_t floats = 0;
  for (size_t i = first; i < end; ++i) {
    RowBlock& block = row_blocks_[i];
    const int64_t blocks = num_blocks(*block.weight);
    if (reads_packed(block)) {
      const int64_t in_flight = kernels_.packed_blocks[static_cast<size_t>(block.num_rows)];
      const int64_t most = divide_up(kPackedTaskBytes, block_bytes(*block.weight));
      block.blocks_per_task = divide_up(std::clamp(blocks / wanted, int64_t{1}, most), in_flight) * in_flight;
    } else {
      block.blocks_per_task = std::clamp(blocks / wanted, int64_t{1}, kPanelBlocksPerTask);
    }
    num_tasks += divide_up(blocks, block.blocks_per_task);
    block.end_task = num_tasks;
    floats = std::max(floats, scratch_floats(block));
  }
  scratch_.reserve(floats);
}

int64_t GroupedProduct::scratch_floats(const RowBlock& block) const {
  const int64_t depth = tree_stack_depth(block.weight->partial_bounds.size() - 1);
  const int64_t row_floats = depth * block.num_rows * kBlockColumns;
  if (reads_packed(block)) return row_floats * kernels_.packed_blocks[static_cast<size_t>(block.num_rows)];
  return row_floats * block.blocks_per_task + kPanelDepth * kBlockColumns;
}

void GroupedProduct::multiply_packed(const Task& task, float* y) const {
  const Weight& weight = *task.rows->weight;
  const RowTile& tile = tiles_[static_cast<size_t>(task.rows->first_tile)];
  const auto rows = static_cast<size_t>(tile.rows);
  const PackedKernel kernel = kernels_.packed[static_cast<size_t>(element_of(weight.dtype))][rows];
  const std::vector<int64_t>& bounds = weight.partial_bounds;
  const int64_t end_block = task.first_block + task.num_blocks;
  for (int64_t first = task.first_block; first < end_block; first += kernels_.packed_blocks[rows]) {
    const int64_t blocks = std::min<int64_t>(kernels_.packed_blocks[rows], end_block - first);
    const int64_t count = blocks * tile.rows * kBlockColumns;
    int depth = 0;
    for (size_t p = 0; p + 1 < bounds.size(); ++p) {
      kernel({tile.a + bounds[p] * tile.rows,
              weight.storage.data() + first * block_bytes(weight) + bounds[p] * step_bytes(weight), block_bytes(weight),
              blocks, bounds[p + 1] - bounds[p], task.scratch + depth * count});
      depth = merge_partials(kernels_, p, bounds.size() - 1, count, depth + 1, task.scratch);
    }
    for (int64_t b = 0; b < blocks; ++b) {
      store(weight, task.scratch + b * tile.rows * kBlockColumns, tile.first_row, tile.rows, first + b, y);
    }
  }
}

void GroupedProduct::multiply_panels(const Task& task, float* y) const {
  const Weight& weight = *task.rows->weight;
  const std::vector<int64_t>& bounds = weight.partial_bounds;
  const int64_t block_floats = task.rows->num_rows * kBlockColumns;
  const int64_t count = task.num_blocks * block_floats;
  float* stack = task.scratch + kPanelDepth * kBlockColumns;
  int depth = 0;
  for (size_t p = 0; p + 1 < bounds.size(); ++p) {
    add_panels(task, bounds[p], bounds[p + 1], stack + depth * count);
    depth = merge_partials(kernels_, p, bounds.size() - 1, count, depth + 1, stack);
  }
  const int64_t first_row = tiles_[static_cast<size_t>(task.rows->first_tile)].first_row;
  for (int64_t b = 0; b < task.num_blocks; ++b) {
    store(weight, stack + b * block_floats, first_row, task.rows->num_rows, task.first_block + b, y);
  }
}

void GroupedProduct::add_panels(const Task& task, int64_t begin, int64_t end, float* sums) const {
  const Weight& weight = *task.rows->weight;
  const auto widen = kernels_.widen[static_cast<size_t>(element_of(weight.dtype))];
  if (begin == end) std::fill_n(sums, task.num_blocks * task.rows->num_rows * kBlockColumns, 0.0F);
  for (int64_t k = begin; k < end; k += kPanelDepth) {
    const int64_t panel_depth = std::min(kPanelDepth, end - k);
    float* out = sums;
    for (int64_t b = 0; b < task.num_blocks; ++b) {
      const std::byte* packed = weight.storage.data() + (task.first_block + b) * block_bytes(weight) + k * step_bytes(weight);
      widen(packed, panel_depth, task.scratch);
      // While the tiles are computed, the packed form of the next panel comes from memory, a share with every tile.
      const std::byte* next = b + 1 < task.num_blocks ? packed + block_bytes(weight)
                                                      : packed + panel_depth * step_bytes(weight) -
                                                            (task.num_blocks - 1) * block_bytes(weight);
      const int64_t share = step_bytes(weight) / task.rows->num_tiles;
      for (int64_t t = 0; t < task.rows->num_tiles; ++t) {
        const RowTile& tile = tiles_[static_cast<size_t>(task.rows->first_tile + t)];
        kernels_.panel[static_cast<size_t>(tile.rows)]({tile.a + k * tile.rows, task.scratch, kBlockColumns, panel_depth,
                                                        out, kBlockColumns, k == begin, next + t * share * panel_depth,
                                                        share});
        out += tile.rows * kBlockColumns;
      }
    }
  }
}

void GroupedProduct::store(const Weight& weight, const float* sums, int64_t first_row, int64_t rows, int64_t block,
                           float* y) const {
  const int64_t first_output = block * block_outputs(weight);
  const int64_t outputs = std::min(block_outputs(weight), weight.num_outputs - first_output);
  float* out = y + first_row * weight.num_outputs + first_output;
  if (weight.gated) {
    kernels_.gate(sums, rows, out, weight.num_outputs, outputs);
    return;
  }
  for (int64_t r = 0; r < rows; ++r) {
    std::memcpy(out + r * weight.num_outputs, sums + r * kBlockColumns, static_cast<size_t>(outputs) * sizeof(float));
  }
}

}  // namespace octet
