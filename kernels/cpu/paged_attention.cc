#include "kernels/cpu/paged_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/packed_weight.h"
#include "runtime/base/check.h"

namespace octet {
namespace {

// Queries of a unit, about: enough to pay for widening a page, few enough for the second-level cache.
constexpr int64_t kUnitQueries = 128;
// Units that every thread should have before splits stay with their unit.
constexpr int64_t kUnitsPerThread = 4;

// The i-th of `parts` near-equal pieces of [0, total) begins here.
int64_t piece_begin(int64_t total, int64_t parts, int64_t i) { return i * total / parts; }

}  // namespace

int64_t PagedAttention::padded(int64_t head_dim) {
  return (head_dim + kBlockColumns - 1) / kBlockColumns * kBlockColumns;
}

// States and values, both from addresses that are multiples of 64 bytes.
int64_t PagedAttention::partial_floats(int64_t queries, int64_t head_dim) {
  return padded(2 * queries) + queries * padded(head_dim);
}

PagedAttention::Partial PagedAttention::partial_at(float* memory, int64_t queries) {
  return {reinterpret_cast<SoftmaxState*>(memory), memory + padded(2 * queries)};
}

PagedAttention::KeyRange PagedAttention::visible_keys(const AttentionShape& shape, int64_t position) {
  return {shape.window > 0 ? std::max(position - shape.window + 1, int64_t{0}) : 0, position + 1};
}

PagedAttention::KeyRange PagedAttention::intersect(KeyRange a, KeyRange b) {
  return {std::max(a.begin, b.begin), std::min(a.end, b.end)};
}

void PagedAttention::run(const AttentionCall& call) {
  plan(call);
  if (units_.empty()) return;
  reserve(call);
  const bool few_units = static_cast<int64_t>(units_.size()) < kUnitsPerThread * pool_.num_threads();
  if (few_units && units_.back().end_task > static_cast<int64_t>(units_.size())) {
    run_splits(call);
  } else {
    run_units(call);
  }
}

void PagedAttention::plan(const AttentionCall& call) {
  units_.clear();
  unit_rows_ = std::max(kUnitQueries / group(call), int64_t{1});
  int64_t num_tasks = 0;
  for (size_t s = 0; s < call.batch.sequences.size(); ++s) {
    const SequenceRows& rows = call.batch.sequences[s];
    const int64_t pieces = (rows.num_rows + unit_rows_ - 1) / unit_rows_;
    // The last rows first: they see the most keys, and the loop ends evenly when its last tasks are small.
    for (int64_t piece = pieces - 1; piece >= 0; --piece) {
      const int64_t begin = piece_begin(rows.num_rows, pieces, piece);
      const int64_t end = piece_begin(rows.num_rows, pieces, piece + 1);
      const int64_t first_key = visible_keys(call.shape, rows.first_position + begin).begin;
      const int64_t first_split = first_key / kSplitTokens;
      const int64_t num_splits = (rows.first_position + end - 1) / kSplitTokens - first_split + 1;
      for (int64_t head = 0; head < call.shape.num_kv_heads; ++head) {
        num_tasks += num_splits;
        units_.push_back({static_cast<int64_t>(s), head, rows.first_row + begin, end - begin,
                          rows.first_position + begin, first_split, num_splits, num_tasks});
      }
    }
  }
}

void PagedAttention::reserve(const AttentionCall& call) {
  const int64_t queries = unit_rows_ * group(call);
  const int64_t dim = call.shape.head_dim;
  scratch_.reserve(padded(queries * dim) + kMaxTileRows * kPageTokens + kPageTokens * dim + kPageTokens * padded(dim) +
                   2 * partial_floats(queries, dim));
}

PagedAttention::Workspace PagedAttention::workspace(const AttentionCall& call, int thread) const {
  const int64_t queries = unit_rows_ * group(call);
  const int64_t dim = call.shape.head_dim;
  float* next = scratch_.of(thread);
  const auto take = [&next](int64_t floats) {
    float* memory = next;
    next += floats;
    return memory;
  };
  Workspace work;
  work.queries = take(padded(queries * dim));
  work.scores = take(kMaxTileRows * kPageTokens);
  work.keys = take(kPageTokens * dim);
  work.values = take(kPageTokens * padded(dim));
  work.split = partial_at(take(partial_floats(queries, dim)), queries);
  work.merged = partial_at(take(partial_floats(queries, dim)), queries);
  return work;
}

void PagedAttention::run_units(const AttentionCall& call) {
  pool_.parallel_for(static_cast<int64_t>(units_.size()), [&](int64_t task, int thread) {
    const Unit& unit = units_[static_cast<size_t>(task)];
    Workspace work = workspace(call, thread);
    pack_queries(call, unit, work);
    clear(call, unit, work.merged);
    for (int64_t split = unit.first_split; split < unit.first_split + unit.num_splits; ++split) {
      fold_split(call, unit, split, work, work.split);
      merge(call, unit, split, work.split, work.merged);
    }
    write_out(call, unit, work.merged);
  });
}

void PagedAttention::run_splits(const AttentionCall& call) {
  const int64_t queries = unit_rows_ * group(call);
  const int64_t floats = partial_floats(queries, call.shape.head_dim);
  const size_t bytes = static_cast<size_t>(units_.back().end_task * floats) * sizeof(float);
  if (bytes > partials_.size()) partials_ = Buffer::host(bytes);
  auto* partials = reinterpret_cast<float*>(partials_.data());
  pool_.parallel_for(units_.back().end_task, [&](int64_t task, int thread) {
    const auto unit = std::upper_bound(units_.begin(), units_.end(), task, [](int64_t number, const Unit& candidate) {
      return number < candidate.end_task;
    });
    Workspace work = workspace(call, thread);
    pack_queries(call, *unit, work);
    const int64_t split = unit->first_split + task - (unit->end_task - unit->num_splits);
    fold_split(call, *unit, split, work, partial_at(partials + task * floats, queries));
  });
  pool_.parallel_for(static_cast<int64_t>(units_.size()), [&](int64_t task, int thread) {
    const Unit& unit = units_[static_cast<size_t>(task)];
    const Workspace work = workspace(call, thread);
    clear(call, unit, work.merged);
    for (int64_t i = 0; i < unit.num_splits; ++i) {
      float* memory = partials + (unit.end_task - unit.num_splits + i) * floats;
      merge(call, unit, unit.first_split + i, partial_at(memory, queries), work.merged);
    }
    write_out(call, unit, work.merged);
  });
}

void PagedAttention::pack_queries(const AttentionCall& call, const Unit& unit, Workspace& work) const {
  const int64_t dim = call.shape.head_dim;
  const int64_t heads = group(call);
  const int64_t row_floats = (call.shape.num_heads + 2 * call.shape.num_kv_heads) * dim;
  const float scale = 1.0F / std::sqrt(static_cast<float>(dim));
  const int64_t num_queries = unit.num_rows * heads;
  const int64_t num_tiles = (num_queries + kernels_.tile_rows - 1) / kernels_.tile_rows;
  for (int64_t tile = 0; tile < num_tiles; ++tile) {
    const int64_t begin = piece_begin(num_queries, num_tiles, tile);
    const int64_t rows = piece_begin(num_queries, num_tiles, tile + 1) - begin;
    float* packed = work.queries + begin * dim;
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t row = unit.first_row + (begin + i) / heads;
      const int64_t head = unit.kv_head * heads + (begin + i) % heads;
      const float* query = call.qkv + row * row_floats + head * dim;
      for (int64_t d = 0; d < dim; ++d) packed[d * rows + i] = query[d] * scale;
    }
  }
}

void PagedAttention::clear(const AttentionCall& call, const Unit& unit, const Partial& partial) const {
  const int64_t queries = unit.num_rows * group(call);
  std::fill_n(partial.states, queries, SoftmaxState{-std::numeric_limits<float>::infinity(), 0.0F});
  std::fill_n(partial.values, queries * padded(call.shape.head_dim), 0.0F);
}

void PagedAttention::fold_split(const AttentionCall& call, const Unit& unit, int64_t split, Workspace& work,
                                const Partial& partial) const {
  clear(call, unit, partial);
  const KeyRange bounds{split * kSplitTokens, (split + 1) * kSplitTokens};
  // The keys that any row of the unit sees, then page by page.
  const KeyRange all{visible_keys(call.shape, unit.first_position).begin, unit.first_position + unit.num_rows};
  const KeyRange keys = intersect(all, bounds);
  const int64_t num_queries = unit.num_rows * group(call);
  const int64_t num_tiles = (num_queries + kernels_.tile_rows - 1) / kernels_.tile_rows;
  for (int64_t page = keys.begin / kPageTokens; page * kPageTokens < keys.end; ++page) {
    const KeyRange on_page = intersect(keys, {page * kPageTokens, (page + 1) * kPageTokens});
    Page loaded = load_page(call, unit, on_page, work);
    if (on_page.end < keys.end) {
      loaded.next_key_block = call.cache.key_block(page_id(call, unit, on_page.end), unit.kv_head);
    }
    for (int64_t tile = 0; tile < num_tiles; ++tile) fold_tile(call, unit, loaded, on_page, tile, work, partial);
  }
}

int64_t PagedAttention::page_id(const AttentionCall& call, const Unit& unit, int64_t position) {
  const TensorView& tables = call.batch.page_tables;
  return tables.as<int32_t>()[unit.sequence * tables.row_elements() + position / kPageTokens];
}

PagedAttention::Page PagedAttention::load_page(const AttentionCall& call, const Unit& unit, KeyRange keys,
                                               Workspace& work) const {
  const KvCacheView& cache = call.cache;
  const int64_t dim = cache.head_dim;
  const int64_t id = page_id(call, unit, keys.begin);
  std::byte* key_block = cache.key_block(id, unit.kv_head);
  std::byte* value_block = cache.value_block(id, unit.kv_head);
  const auto convert = kernels_.convert[static_cast<size_t>(element_of(cache.dtype))];
  Page page{keys.begin / kPageTokens * kPageTokens,
            reinterpret_cast<const float*>(key_block),
            reinterpret_cast<const float*>(value_block),
            dim,
            nullptr,
            nullptr,
            value_block,
            value_block};
  if (cache.dtype == DType::kI8) {
    page.key_scales = cache.block_scales(key_block);
    page.value_scales = cache.block_scales(value_block);
  }
  if (cache.dtype != DType::kF32) {
    convert(key_block, dim * kPageTokens, work.keys);
    page.keys = work.keys;
  }
  if (cache.dtype != DType::kF32 || dim != padded(dim)) {
    // Only slots that hold a token: the others may hold anything.
    page.value_stride = padded(dim);
    for (int64_t slot = keys.begin % kPageTokens; slot < keys.end - page.first_position; ++slot) {
      convert(value_block + slot * dim * dtype_size(cache.dtype), dim, work.values + slot * page.value_stride);
    }
    page.values = work.values;
  }
  return page;
}

void PagedAttention::fold_tile(const AttentionCall& call, const Unit& unit, const Page& page, KeyRange keys,
                               int64_t tile, Workspace& work, const Partial& partial) const {
  const int64_t heads = group(call);
  const int64_t dim = call.shape.head_dim;
  const int64_t width = padded(dim);
  const int64_t num_queries = unit.num_rows * heads;
  const int64_t num_tiles = (num_queries + kernels_.tile_rows - 1) / kernels_.tile_rows;
  const int64_t first = piece_begin(num_queries, num_tiles, tile);
  const auto rows = static_cast<size_t>(piece_begin(num_queries, num_tiles, tile + 1) - first);
  const auto keys_of = [&](int64_t query) {
    return intersect(visible_keys(call.shape, unit.first_position + query / heads), keys);
  };
  const auto last = first + static_cast<int64_t>(rows) - 1;
  const KeyRange seen{keys_of(first).begin, keys_of(last).end};  // by any query of the tile
  if (seen.empty()) return;
  // The products of the first tile go over as many keys and values as there is to fetch. Of narrower types converting
  // is what reads the pages, and it needs no help.
  const bool fetches = tile == 0 && call.cache.dtype == DType::kF32;
  for (int64_t column = 0; column < kPageTokens; column += kBlockColumns) {
    const std::byte* fetch = fetches ? page.value_block + column * dim * int64_t{sizeof(float)} : nullptr;
    kernels_.panel[rows]({work.queries + first * dim, page.keys + column, kPageTokens, dim, work.scores + column,
                          kPageTokens, true, fetch});
  }
  for (int64_t query = first; query <= last; ++query) {
    const KeyRange own = keys_of(query);
    float* scores = work.scores + (query - first) * kPageTokens;
    if (own.empty()) {
      std::fill_n(scores, kPageTokens, 0.0F);
    } else {
      kernels_.softmax_block(scores, own.begin - page.first_position, own.end - page.first_position, page.key_scales,
                             page.value_scales, partial.states[query], partial.values + query * width, width);
    }
  }
  const int64_t begin = seen.begin - page.first_position;
  for (int64_t column = 0; column < width; column += kBlockColumns) {
    const std::byte* fetch = fetches ? page.next_key_block + column * kPageTokens * int64_t{sizeof(float)} : nullptr;
    kernels_.panel_by_rows[rows]({work.scores + begin, page.values + begin * page.value_stride + column,
                                  page.value_stride, seen.end - seen.begin, partial.values + first * width + column,
                                  width, false, fetch});
  }
}

void PagedAttention::merge(const AttentionCall& call, const Unit& unit, int64_t split, const Partial& partial,
                           const Partial& merged) const {
  const int64_t heads = group(call);
  const int64_t width = padded(call.shape.head_dim);
  const KeyRange bounds{split * kSplitTokens, (split + 1) * kSplitTokens};
  for (int64_t query = 0; query < unit.num_rows * heads; ++query) {
    if (intersect(visible_keys(call.shape, unit.first_position + query / heads), bounds).empty()) continue;
    kernels_.softmax_merge(partial.states[query], partial.values + query * width, merged.states[query],
                           merged.values + query * width, width);
  }
}

void PagedAttention::write_out(const AttentionCall& call, const Unit& unit, const Partial& merged) const {
  const int64_t heads = group(call);
  const int64_t dim = call.shape.head_dim;
  for (int64_t query = 0; query < unit.num_rows * heads; ++query) {
    const int64_t row = unit.first_row + query / heads;
    const int64_t head = unit.kv_head * heads + query % heads;
    kernels_.divide(merged.values + query * padded(dim), merged.states[query].total, dim,
                    call.out + (row * call.shape.num_heads + head) * dim);
  }
}

}  // namespace octet
