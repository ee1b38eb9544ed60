// Attention over the paged KV cache.
//
// The rows of a step are cut into units: a few rows of one sequence times the query heads of one KV head. All queries
// of a unit share the loads of a page's keys and values. For each page, scores are a product of the packed queries with
// the keys (keys in the lanes), weights are their softmax against the running maximum, and the values are added in
// ascending key (head elements in the lanes). A query's chain of operations depends on its own keys only: pages and
// splits without a key for it are passed over, masked keys have weight 0.
//
// With enough units a thread takes a whole unit, split after split; with few (one long sequence) threads share the
// splits. Splits are merged in order, so both give the same bits.
#pragma once

#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/thread_scratch.h"
#include "runtime/base/thread_pool.h"

namespace octet {

// One call; see Backend::paged_attention.
struct AttentionCall {
  const float* qkv = nullptr;
  const PagedBatch& batch;
  const AttentionShape& shape;
  const KvCacheView& cache;
  float* out = nullptr;
};

// Keeps its working memory between calls; one thread calls at a time.
class PagedAttention {
 public:
  PagedAttention(const KernelTable& kernels, ThreadPool& pool)
      : kernels_(kernels), pool_(pool), scratch_(pool.num_threads()) {}

  void run(const AttentionCall& call);

 private:
  // Query i of a unit is row i / group, head i % group of the KV head's group.
  struct Unit {
    int64_t sequence = 0;
    int64_t kv_head = 0;
    int64_t first_row = 0;  // of the step
    int64_t num_rows = 0;
    int64_t first_position = 0;
    int64_t first_split = 0;
    int64_t num_splits = 0;
    int64_t end_task = 0;  // (unit, split) tasks of this and all earlier units
  };
  // Absolute positions [begin, end) of keys.
  struct KeyRange {
    int64_t begin = 0;
    int64_t end = 0;
    bool empty() const { return begin >= end; }
  };
  // The running softmax of the queries of a unit.
  struct Partial {
    SoftmaxState* states;  // [queries]
    float* values;         // [queries, padded head_dim]
  };
  // Working memory of a thread: parts of one allocation.
  struct Workspace {
    float* queries;  // packed tiles, [tile][head_dim, tile rows]
    float* scores;   // [tile rows, 64]
    float* keys;     // [head_dim, 64], of pages that are not fp32
    float* values;   // [64, padded head_dim], of pages that are not fp32 or not padded
    Partial split;
    Partial merged;
  };
  // A page as the products read it.
  struct Page {
    int64_t first_position;
    const float* keys;
    const float* values;
    int64_t value_stride;
    const float* key_scales;  // null: none
    const float* value_scales;
    // What is fetched while the first tile is computed: this page's values, the next page's keys.
    const std::byte* value_block;
    const std::byte* next_key_block;
  };

  int64_t group(const AttentionCall& call) const { return call.shape.num_heads / call.shape.num_kv_heads; }
  static int64_t padded(int64_t head_dim);
  static int64_t partial_floats(int64_t queries, int64_t head_dim);
  static Partial partial_at(float* memory, int64_t queries);
  Workspace workspace(const AttentionCall& call, int thread) const;
  void reserve(const AttentionCall& call);

  // Keys that the row at `position` sees, and those of them in `bounds`.
  static KeyRange visible_keys(const AttentionShape& shape, int64_t position);
  static KeyRange intersect(KeyRange a, KeyRange b);

  void plan(const AttentionCall& call);
  void run_units(const AttentionCall& call);
  void run_splits(const AttentionCall& call);
  void pack_queries(const AttentionCall& call, const Unit& unit, Workspace& work) const;
  void fold_split(const AttentionCall& call, const Unit& unit, int64_t split, Workspace& work,
                  const Partial& partial) const;
  // The page of position `position` of the unit's sequence.
  static int64_t page_id(const AttentionCall& call, const Unit& unit, int64_t position);
  Page load_page(const AttentionCall& call, const Unit& unit, KeyRange keys, Workspace& work) const;
  void fold_tile(const AttentionCall& call, const Unit& unit, const Page& page, KeyRange split, int64_t tile,
                 Workspace& work, const Partial& partial) const;
  void clear(const AttentionCall& call, const Unit& unit, const Partial& partial) const;
  void merge(const AttentionCall& call, const Unit& unit, int64_t split, const Partial& partial,
             const Partial& merged) const;
  void write_out(const AttentionCall& call, const Unit& unit, const Partial& merged) const;

  const KernelTable& kernels_;
  ThreadPool& pool_;
  ThreadScratch scratch_;
  Buffer partials_;  // of run_splits: one Partial for each (unit, split)
  std::vector<Unit> units_;
  int64_t unit_rows_ = 0;  // most rows of a unit
};

}  // namespace octet
