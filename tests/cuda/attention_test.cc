// RoPE, the KV cache and attention of the CUDA backend against the reference backend.
//
// Tolerance of attention: single rows are computed in fp32 on what the pages hold, 2e-5 of the largest element; of a
// prompt, queries and softmax weights are rounded to bf16 (2^-9 each, relative), 1e-2.
#include <numeric>

#include "tests/cuda/cuda_fixture.h"

namespace octet {
namespace {

constexpr double kSingleRows = 2e-5;
constexpr double kPrompts = 1e-2;

// Sequences of a batch: rows and the position of the first one.
struct Part {
  int32_t num_rows;
  int32_t first_position;
};

// A batch of sequences whose cache is already filled up to their first position.
class Scene {
 public:
  Scene(const AttentionShape& shape, DType kv_dtype, const std::vector<Part>& parts, uint32_t seed)
      : shape_(shape), kv_dtype_(kv_dtype), random_(seed) {
    std::vector<int32_t> positions;
    size_t width = 1;
    for (const Part& part : parts) {
      sequences_.push_back({static_cast<int32_t>(positions.size()), part.num_rows, part.first_position});
      for (int32_t i = 0; i < part.num_rows; ++i) positions.push_back(part.first_position + i);
      const int32_t length = part.first_position + part.num_rows;
      width = std::max(width, static_cast<size_t>(pages_for(length)));
    }
    const auto rows = static_cast<int64_t>(positions.size());
    positions_ = int_tensor(positions, {rows});
    make_pages(width);
    qkv_ = random_.tensor({rows, (shape.num_heads + 2 * shape.num_kv_heads) * shape.head_dim});
    const Tensor frequency = random_.tensor({shape.head_dim / 2});
    table_ = Tensor::host(DType::kF32, {rows, shape.head_dim});
    HostStream stream;
    ReferenceBackend().rope_table(positions_.view, frequency.view, table_.view, stream);
    fill_cache();
  }

  int64_t rows() const { return positions_.view.num_elements(); }
  const AttentionShape& shape() const { return shape_; }
  TensorView qkv() const { return qkv_.view; }
  TensorView rope_table() const { return table_.view; }
  TensorView positions() const { return positions_.view; }
  TensorView page_tables() const { return page_tables_.view; }
  TensorView memory() const { return memory_.view; }
  const std::vector<SequenceRows>& sequences() const { return sequences_; }
  KvCacheView cache(void* memory) const {
    auto* bytes = static_cast<std::byte*>(memory);
    return {bytes, bytes + memory_.view.num_bytes() / 2, kv_dtype_, num_pages_, shape_.num_kv_heads, shape_.head_dim};
  }

 private:
  // Page tables of shuffled pages; rows of the table are padded with page 0, as the model does.
  void make_pages(size_t width) {
    const auto count = static_cast<int64_t>(sequences_.size());
    num_pages_ = count * static_cast<int64_t>(width) + 1;
    std::vector<int32_t> pages(static_cast<size_t>(num_pages_ - 1));
    std::iota(pages.begin(), pages.end(), 1);
    for (size_t i = pages.size(); i > 1; --i)
      std::swap(pages[i - 1], pages[static_cast<size_t>(random_.below(static_cast<int64_t>(i)))]);
    page_tables_ = int_tensor(pages, {count, static_cast<int64_t>(width)});
  }

  // Every earlier position of every sequence holds keys and values; unwritten slots hold NaN bytes.
  void fill_cache() {
    const int64_t bytes = num_pages_ * shape_.num_kv_heads * KvCacheView::block_bytes(kv_dtype_, shape_.head_dim);
    memory_ = Tensor::host(DType::kI8, {2 * bytes});
    std::memset(memory_.view.data, 0xff, static_cast<size_t>(2 * bytes));
    HostStream stream;
    for (size_t s = 0; s < sequences_.size(); ++s) {
      const int32_t length = sequences_[s].first_position;
      if (length == 0) continue;
      std::vector<int32_t> positions(static_cast<size_t>(length));
      std::iota(positions.begin(), positions.end(), 0);
      const Tensor earlier = random_.tensor({length, qkv_.view.row_elements()});
      const Tensor table = random_.tensor({length, shape_.head_dim});
      const Tensor position_tensor = int_tensor(positions, {length});
      const SequenceRows all{0, length, 0};
      ReferenceBackend().rope_and_store_kv(
          earlier.view, table.view,
          {{&all, 1}, position_tensor.view, page_tables_.view.slice_rows(static_cast<int64_t>(s), 1)}, shape_,
          cache(memory_.view.data), stream);
    }
  }

  AttentionShape shape_;
  DType kv_dtype_;
  RandomValues random_;
  std::vector<SequenceRows> sequences_;
  int64_t num_pages_ = 0;
  Tensor positions_, page_tables_, qkv_, table_, memory_;
};

class CudaAttentionTest : public CudaTest {
 protected:
  void check(const AttentionShape& shape, DType kv_dtype, const std::vector<Part>& parts, double tolerance) {
    SCOPED_TRACE(testing::Message() << shape.num_heads << " heads, " << shape.num_kv_heads << " KV heads of "
                                    << shape.head_dim << ", window " << shape.window << ", " << dtype_name(kv_dtype)
                                    << ", " << parts.size() << " sequences, first " << parts[0].num_rows << " at "
                                    << parts[0].first_position);
    const Scene scene(shape, kv_dtype, parts, static_cast<uint32_t>(shape.head_dim + parts[0].num_rows));
    // On the device.
    const Tensor memory = device(scene.memory());
    const Tensor qkv = device(scene.qkv());
    const Tensor table = device(scene.rope_table());
    const Tensor positions = device(scene.positions());
    const Tensor pages = device(scene.page_tables());
    const Tensor out = device_zeros(DType::kF32, {scene.rows(), shape.num_heads * shape.head_dim});
    const PagedBatch batch{scene.sequences(), positions.view, pages.view};
    const KvCacheView cache = scene.cache(memory.view.data);
    backend_->rope_and_store_kv(qkv.view, table.view, batch, shape, cache, *stream_);
    backend_->paged_attention(qkv.view, batch, shape, cache, out.view, *stream_);
    const Tensor actual = host(out);
    const Tensor actual_memory = host(memory);
    backend_->paged_attention(qkv.view, batch, shape, cache, out.view, *stream_);
    expect_same_bits(host(out).view, actual.view);
    // By the reference.
    const PagedBatch host_batch{scene.sequences(), scene.positions(), scene.page_tables()};
    const KvCacheView host_cache = scene.cache(scene.memory().data);
    const Tensor expected = Tensor::host(DType::kF32, out.view.shape);
    reference_.rope_and_store_kv(scene.qkv(), scene.rope_table(), host_batch, shape, host_cache, host_stream_);
    reference_.paged_attention(scene.qkv(), host_batch, shape, host_cache, expected.view, host_stream_);
    expect_same_bits(actual_memory.view, scene.memory());
    expect_near(actual.view, expected.view, tolerance);
  }
};

constexpr DType kKvDTypes[] = {DType::kBF16, DType::kI8};

TEST_F(CudaAttentionTest, SingleRowsAcrossPageEdges) {
  for (const DType dtype : kKvDTypes) {
    for (const int32_t position : {0, 1, 62, 63, 64, 300, 1100}) {
      check({4, 2, 16, 0}, dtype, {{1, position}}, kSingleRows);
    }
    check({4, 2, 16, 0}, dtype, {{1, 700}, {1, 3}, {1, 64}, {1, 130}}, kSingleRows);
  }
}

TEST_F(CudaAttentionTest, SingleRowsWithAnyHeads) {
  for (const auto& [group, head_dim] :
       {std::pair{1, 2}, {1, 128}, {2, 24}, {3, 20}, {4, 80}, {5, 40}, {6, 16}, {8, 64}, {20, 32}}) {
    for (const DType dtype : kKvDTypes) check({2 * group, 2, head_dim, 0}, dtype, {{1, 100}, {1, 64}}, kSingleRows);
  }
}

TEST_F(CudaAttentionTest, SingleRowsWithAWindow) {
  for (const int64_t window : {1, 8, 64, 100, 2000}) {
    for (const DType dtype : kKvDTypes) check({4, 2, 8, window}, dtype, {{1, 400}, {1, 5}}, kSingleRows);
  }
}

TEST_F(CudaAttentionTest, PromptsAcrossPageEdges) {
  for (const DType dtype : kKvDTypes) {
    check({4, 2, 16, 0}, dtype, {{2, 0}}, kPrompts);
    check({4, 2, 16, 0}, dtype, {{33, 0}}, kPrompts);
    check({4, 2, 16, 0}, dtype, {{130, 0}}, kPrompts);
    check({4, 2, 16, 0}, dtype, {{40, 190}}, kPrompts);
  }
}

TEST_F(CudaAttentionTest, PromptsWithAnyHeads) {
  for (const auto& [group, head_dim] :
       {std::pair{1, 2}, {1, 128}, {2, 24}, {3, 20}, {4, 80}, {5, 40}, {7, 8}, {8, 64}, {20, 32}}) {
    for (const DType dtype : kKvDTypes) check({2 * group, 2, head_dim, 0}, dtype, {{20, 60}}, kPrompts);
  }
}

TEST_F(CudaAttentionTest, PromptsWithAWindow) {
  for (const int64_t window : {1, 8, 64, 100}) {
    for (const DType dtype : kKvDTypes) check({4, 2, 8, window}, dtype, {{70, 150}}, kPrompts);
  }
}

TEST_F(CudaAttentionTest, PromptsAndSingleRowsInOneBatch) {
  for (const DType dtype : kKvDTypes) {
    check({8, 2, 32, 0}, dtype, {{1, 129}, {70, 30}, {1, 0}, {2, 63}, {1, 200}}, kPrompts);
    check({8, 2, 32, 50}, dtype, {{5, 129}, {1, 30}}, kPrompts);
  }
}

TEST_F(CudaAttentionTest, RopeTableMatchesTheReference) {
  RandomValues random(8);
  const Tensor frequency = random.tensor({20});
  const Tensor positions = int_tensor({0, 1, 5, 100, 32767, 1000000}, {6});
  const Tensor table = device_zeros(DType::kF32, {6, 40});
  backend_->rope_table(device(positions).view, device(frequency).view, table.view, *stream_);
  const Tensor expected = Tensor::host(DType::kF32, {6, 40});
  reference_.rope_table(positions.view, frequency.view, expected.view, host_stream_);
  expect_near(host(table).view, expected.view, 2e-7);
}

TEST_F(CudaAttentionTest, RopeTableOfScaledFrequenciesMatchesTheReference) {
  RandomValues random(9);
  const Tensor positions = int_tensor({0, 1, 5, 100, 32767, 1000000}, {6});
  for (const Shape& shape : {Shape{21}, Shape{6, 20}, Shape{6, 21}}) {
    const Tensor frequency = random.tensor(shape);
    const Tensor table = device_zeros(DType::kF32, {6, 40});
    backend_->rope_table(device(positions).view, device(frequency).view, table.view, *stream_);
    const Tensor expected = Tensor::host(DType::kF32, {6, 40});
    reference_.rope_table(positions.view, frequency.view, expected.view, host_stream_);
    expect_near(host(table).view, expected.view, 2e-6);
  }
}

TEST_F(CudaAttentionTest, NoRowsNoWork) {
  const AttentionShape shape{4, 2, 32, 0};
  const Tensor empty = device_zeros(DType::kF32, {0, 256});
  const Tensor none = device_zeros(DType::kI32, {0});
  const Tensor pages = device_zeros(DType::kI32, {0, 1});
  const KvCacheView cache{nullptr, nullptr, DType::kBF16, 0, 2, 32};
  backend_->rope_and_store_kv(empty.view, empty.view, {{}, none.view, pages.view}, shape, cache, *stream_);
  backend_->paged_attention(empty.view, {{}, none.view, pages.view}, shape, cache, empty.view, *stream_);
  stream_->synchronize();
}

}  // namespace
}  // namespace octet
