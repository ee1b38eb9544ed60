#include "kernels/cpu/grouped_product.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/packed_weight.h"
#include "kernels/cpu/partial_tree.h"
#include "runtime/base/check.h"

namespace octet {
namespace {

// Inputs that several tiles go over at a time: a block's weights (16 KiB) and a tile's rows (14 KiB) stay in the
// first-level cache, the rows of a row block in the second-level cache.
constexpr int64_t kDepth = 256;
// Rows of a row block: its rows of one depth (256 KiB) and its sums stay in the second-level cache.
constexpr int64_t kMaxBlockRows = 256;
// Column blocks of a task of several tiles: each fetch of the rows from afar serves that many.
constexpr int64_t kMaxTaskBlocks = 8;
// Weight bytes of a task of one tile, at most: short against the step, long against claiming a task.
constexpr int64_t kStreamTaskBytes = 128 << 10;
// How far ahead a single tile fetches its weights: past what the hardware's own prefetcher, which stops at every 4 KiB,
// covers.
constexpr int64_t kPrefetchBytes = 4096;
// Tasks that every thread should get, so that uneven threads end together.
constexpr int64_t kTasksPerThread = 8;
// Packed rows of a batch in floats: bounds the working memory, whatever the number of rows.
constexpr int64_t kBatchFloats = 8 << 20;
// Rows are packed in pieces of that many inputs, one task each.
constexpr int64_t kPackDepth = 2048;
// Fewer floats are packed by the caller alone: sooner than another thread wakes.
constexpr int64_t kParallelPackFloats = 32 << 10;

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
  // Enough row blocks to keep all threads busy where there are few columns (the router), else as few as the cache
  // allows.
  const int64_t column_tasks = divide_up(num_blocks(weight), kMaxTaskBlocks);
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
    const auto block = std::upper_bound(begin, stop, number,
                                        [](int64_t n, const RowBlock& candidate) { return n < candidate.end_task; });
    const int64_t place = number - (block == begin ? 0 : (block - 1)->end_task);
    const int64_t first_block = place * block->blocks_per_task;
    const int64_t count = std::min(block->blocks_per_task, num_blocks(*block->weight) - first_block);
    const Task task{&*block, first_block, count, scratch_.of(thread)};
    multiply(task, call.y);
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
  const int64_t num_tasks = floats == 0 ? 0 : (end_tile - first.first_tile) * pieces;
  if (floats < kParallelPackFloats) {
    for (int64_t task = 0; task < num_tasks; ++task) pack(task, 0);
  } else {
    pool_.parallel_for(num_tasks, pack);
  }
  for (int64_t t = first.first_tile; t < end_tile; ++t) {
    RowTile& tile = tiles_[static_cast<size_t>(t)];
    tile.a = tile.packed_offset < 0 ? x_row(call, tile.first_row) : packed + tile.packed_offset;
  }
}

void GroupedProduct::plan_tasks(size_t first, size_t end) {
  const int64_t wanted = divide_up(kTasksPerThread * pool_.num_threads(), static_cast<int64_t>(end - first));
  int64_t num_tasks = 0;
  int64_t floats = 0;
  for (size_t i = first; i < end; ++i) {
    RowBlock& block = row_blocks_[i];
    const int64_t blocks = num_blocks(*block.weight);
    if (block.num_tiles == 1) {
      const int64_t in_flight = kernels_.blocks_in_flight[static_cast<size_t>(block.num_rows)];
      const int64_t most = divide_up(kStreamTaskBytes, block_bytes(*block.weight));
      block.blocks_per_task = divide_up(std::clamp(blocks / wanted, int64_t{1}, most), in_flight) * in_flight;
    } else {
      block.blocks_per_task = std::clamp(blocks / wanted, int64_t{1}, kMaxTaskBlocks);
    }
    num_tasks += divide_up(blocks, block.blocks_per_task);
    block.end_task = num_tasks;
    const int64_t depth = tree_stack_depth(block.weight->partial_bounds.size() - 1);
    floats = std::max(floats, depth * block.blocks_per_task * block.num_rows * kBlockColumns);
  }
  scratch_.reserve(floats);
}

void GroupedProduct::multiply(const Task& task, float* y) const {
  const Weight& weight = *task.rows->weight;
  const std::vector<int64_t>& bounds = weight.partial_bounds;
  const int64_t count = task.num_blocks * task.rows->num_rows * kBlockColumns;
  const int64_t step = task.rows->num_tiles == 1 ? weight.num_inputs : kDepth;
  int depth = 0;
  for (size_t p = 0; p + 1 < bounds.size(); ++p) {
    float* sums = task.scratch + depth * count;
    int64_t k = bounds[p];
    do {  // once for an empty piece, too: its sum is +0
      const int64_t end = std::min(k + step, bounds[p + 1]);
      add_inputs(task, k, end, k == bounds[p], sums);
      k = end;
    } while (k < bounds[p + 1]);
    depth = merge_partials(kernels_, p, bounds.size() - 1, count, depth + 1, task.scratch);
  }
  const float* sums = task.scratch;
  for (int64_t t = 0; t < task.rows->num_tiles; ++t) {
    const RowTile& tile = tiles_[static_cast<size_t>(task.rows->first_tile + t)];
    for (int64_t b = 0; b < task.num_blocks; ++b, sums += tile.rows * kBlockColumns) {
      store(weight, sums, tile.first_row, tile.rows, task.first_block + b, y);
    }
  }
}

void GroupedProduct::add_inputs(const Task& task, int64_t begin, int64_t end, bool start, float* sums) const {
  const Weight& weight = *task.rows->weight;
  const RowTile* tiles = &tiles_[static_cast<size_t>(task.rows->first_tile)];
  const auto& kernels = kernels_.packed[static_cast<size_t>(element_of(weight.format.dtype()))];
  const std::byte* packed = weight.storage.data() + task.first_block * block_bytes(weight) + begin * step_bytes(weight);
  PackedProduct product;
  product.block_bytes = block_bytes(weight);
  product.depth = end - begin;
  product.start = start;
  if (task.rows->num_tiles == 1) {
    product.a = tiles->a + begin * tiles->rows;
    product.weights = packed;
    product.num_blocks = task.num_blocks;
    product.sums = sums;
    product.prefetch = packed + kPrefetchBytes;
    product.prefetch_step = step_bytes(weight);
    kernels[static_cast<size_t>(tiles->rows)](product);
    return;
  }
  product.num_blocks = 1;
  for (int64_t b = 0; b < task.num_blocks; ++b, packed += block_bytes(weight)) {
    // What comes next is fetched meanwhile: the next block's weights, a share with every tile; with the last block the
    // rows of the next depth, with every tile its own.
    const bool last = b + 1 == task.num_blocks;
    const int64_t share = step_bytes(weight) / task.rows->num_tiles;
    product.weights = packed;
    product.sums = sums + b * tiles->rows * kBlockColumns;
    for (int64_t t = 0; t < task.rows->num_tiles; ++t) {
      const RowTile& tile = tiles[t];
      product.a = tile.a + begin * tile.rows;
      product.sums = sums + ((tile.first_row - tiles->first_row) * task.num_blocks + b * tile.rows) * kBlockColumns;
      product.prefetch = last ? reinterpret_cast<const std::byte*>(product.a + product.depth * tile.rows)
                              : packed + block_bytes(weight) + t * share * product.depth;
      product.prefetch_step = last ? tile.rows * int64_t{sizeof(float)} : share;
      kernels[static_cast<size_t>(tile.rows)](product);
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
