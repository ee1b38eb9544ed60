// RoPE, the KV cache and attention of the cpu backend: values against the reference backend, bits against themselves.
#include <numeric>

#include "tests/kernels/kernels_fixture.h"

namespace octet {
namespace {

// A sequence's whole q, k, v and a KV cache whose pages are shuffled and filled with NaN bytes, as unwritten memory may
// be.
class Scene {
 public:
  Scene(const AttentionShape& shape, DType kv_dtype, int64_t length, uint32_t seed)
      : shape_(shape), kv_dtype_(kv_dtype), length_(length), random_(seed) {
    const int64_t num_pages = pages_for(length);
    pages_.resize(static_cast<size_t>(num_pages));
    std::iota(pages_.begin(), pages_.end(), 1);
    for (size_t i = pages_.size(); i > 1; --i)
      std::swap(pages_[i - 1], pages_[static_cast<size_t>(random_.below(static_cast<int64_t>(i)))]);
    qkv_ = random_.tensor({length, row_floats()});
    const Tensor frequency = random_.tensor({shape.head_dim / 2});
    std::vector<int32_t> positions(static_cast<size_t>(length));
    std::iota(positions.begin(), positions.end(), 0);
    positions_ = int_tensor(positions, {length});
    table_ = Tensor::host(DType::kF32, {length, shape.head_dim});
    HostStream stream;
    ReferenceBackend().rope_table(positions_.view, frequency.view, table_.view, stream);
  }

  // Stores and attends in chunks of the given lengths (the last one repeated); the outputs of all rows.
  Tensor run(Backend& backend, const std::vector<int64_t>& chunks) const {
    Tensor out = Tensor::host(DType::kF32, {length_, shape_.num_heads * shape_.head_dim});
    const Tensor memory = cache_memory();
    const KvCacheView cache = view(memory);
    size_t next = 0;
    for (int64_t begin = 0; begin < length_;) {
      const int64_t rows = std::min(chunks[std::min(next++, chunks.size() - 1)], length_ - begin);
      run_rows(backend, begin, rows, cache, out.view.slice_rows(begin, rows));
      begin += rows;
    }
    return out;
  }

  // The cache after storing all rows at once.
  Tensor stored(Backend& backend) const {
    Tensor memory = cache_memory();
    std::memset(memory.view.data, 0, static_cast<size_t>(memory.view.num_bytes()));
    HostStream stream;
    Tensor qkv = copy_rows(0, length_);
    const SequenceRows rows{0, static_cast<int32_t>(length_), 0};
    const Tensor pages = int_tensor(pages_, {1, static_cast<int64_t>(pages_.size())});
    backend.rope_and_store_kv(qkv.view, table_.view, {{&rows, 1}, positions_.view, pages.view}, shape_, view(memory),
                              stream);
    return memory;
  }

 private:
  int64_t row_floats() const { return (shape_.num_heads + 2 * shape_.num_kv_heads) * shape_.head_dim; }

  Tensor copy_rows(int64_t begin, int64_t rows) const {
    Tensor copy = Tensor::host(DType::kF32, {rows, row_floats()});
    const TensorView source = qkv_.view.slice_rows(begin, rows);
    std::memcpy(copy.view.data, source.data, static_cast<size_t>(source.num_bytes()));
    return copy;
  }

  Tensor cache_memory() const {
    const auto num_pages = static_cast<int64_t>(pages_.size()) + 1;
    const int64_t bytes = num_pages * shape_.num_kv_heads * KvCacheView::block_bytes(kv_dtype_, shape_.head_dim);
    Tensor memory = Tensor::host(DType::kI8, {2 * bytes});
    std::memset(memory.view.data, 0xff, static_cast<size_t>(2 * bytes));
    return memory;
  }

  KvCacheView view(const Tensor& memory) const {
    auto* bytes = static_cast<std::byte*>(memory.view.data);
    const auto num_pages = static_cast<int64_t>(pages_.size()) + 1;
    return {bytes, bytes + memory.view.num_bytes() / 2, kv_dtype_, num_pages, shape_.num_kv_heads, shape_.head_dim};
  }

  void run_rows(Backend& backend, int64_t begin, int64_t num_rows, const KvCacheView& cache, TensorView out) const {
    HostStream stream;
    const Tensor qkv = copy_rows(begin, num_rows);
    const SequenceRows rows{0, static_cast<int32_t>(num_rows), static_cast<int32_t>(begin)};
    const Tensor pages = int_tensor(pages_, {1, static_cast<int64_t>(pages_.size())});
    const PagedBatch batch{{&rows, 1}, positions_.view.slice_rows(begin, num_rows), pages.view};
    backend.rope_and_store_kv(qkv.view, table_.view.slice_rows(begin, num_rows), batch, shape_, cache, stream);
    backend.paged_attention(qkv.view, batch, shape_, cache, out, stream);
  }

  AttentionShape shape_;
  DType kv_dtype_;
  int64_t length_;
  RandomValues random_;
  std::vector<int32_t> pages_;
  Tensor qkv_;
  Tensor positions_;
  Tensor table_;
};

class AttentionTest : public CpuBackendTest {};

// Comparisons with the reference backend, which is slow; AttentionTest shows that the number of threads changes no bit.
class AttentionValuesTest : public CpuBackendTest {};

constexpr DType kKvDTypes[] = {DType::kF32, DType::kBF16, DType::kI8};

TEST_P(AttentionValuesTest, MatchesTheReferenceAcrossPageAndSplitEdges) {
  for (const int64_t length : {1, 2, 63, 64, 65, 1023, 1024, 1025, 2500}) {
    for (const DType dtype : kKvDTypes) {
      SCOPED_TRACE(testing::Message() << length << " " << dtype_name(dtype));
      const Scene scene({2, 1, 8, 0}, dtype, length, static_cast<uint32_t>(length));
      // A long prompt, then decoding.
      const std::vector<int64_t> chunks = {std::max<int64_t>(length - 3, 1), 1};
      expect_near(scene.run(*backend_, chunks).view, scene.run(reference_, chunks).view, 4e-6);
    }
  }
}

TEST_P(AttentionValuesTest, MatchesTheReferenceForAnyHeads) {
  for (const auto& [group, head_dim] : {std::pair{1, 2}, {1, 128}, {2, 24}, {4, 80}, {8, 16}, {20, 32}}) {
    for (const DType dtype : kKvDTypes) {
      SCOPED_TRACE(testing::Message() << group << " heads a KV head of " << head_dim << " " << dtype_name(dtype));
      const Scene scene({2 * group, 2, head_dim, 0}, dtype, 100, static_cast<uint32_t>(group * head_dim));
      expect_near(scene.run(*backend_, {70, 29, 1}).view, scene.run(reference_, {100}).view, 4e-6);
    }
  }
}

TEST_P(AttentionValuesTest, MatchesTheReferenceWithAWindow) {
  for (const int64_t window : {1, 8, 64, 100, 1024}) {
    for (const DType dtype : kKvDTypes) {
      SCOPED_TRACE(testing::Message() << "window " << window << " " << dtype_name(dtype));
      const Scene scene({4, 2, 8, window}, dtype, 1300, static_cast<uint32_t>(window));
      expect_near(scene.run(*backend_, {700, 20, 1}).view, scene.run(reference_, {1300}).view, 4e-6);
    }
  }
}

TEST_P(AttentionTest, BitsDependNeitherOnChunksNorOnThreadsNorOnTheInstructionSet) {
  const auto alone = cpu_backend(isas().front(), 1);
  for (const int64_t window : {0, 100}) {
    for (const DType dtype : kKvDTypes) {
      for (const int64_t length : {65, 1100, 2100}) {
        SCOPED_TRACE(testing::Message() << length << " window " << window << " " << dtype_name(dtype));
        const Scene scene({8, 2, 40, window}, dtype, length, static_cast<uint32_t>(length + window));
        const Tensor whole = scene.run(*backend_, {length});
        expect_same_bits(scene.run(*backend_, {length / 2, 1, 2, 17}).view, whole.view);
        expect_same_bits(scene.run(*alone, {1}).view, whole.view);
      }
    }
  }
}

TEST_P(AttentionTest, StoresWhatTheReferenceStores) {
  for (const DType dtype : kKvDTypes) {
    const Scene scene({4, 2, 24, 0}, dtype, 130, 5);
    expect_same_bits(scene.stored(*backend_).view, scene.stored(reference_).view);
  }
}

TEST_P(AttentionTest, SequencesOfABatchDoNotSeeOneAnother) {
  // Two sequences, one decoding and one with a prompt, against each on its own.
  const AttentionShape shape{4, 2, 32, 0};
  const int64_t width = 8 * 32;
  RandomValues random(3);
  const Tensor memory = Tensor::host(DType::kF32, {2 * 8 * 2 * KvCacheView::block_bytes(DType::kF32, 32) / 4});
  for (int64_t i = 0; i < memory.view.num_elements(); ++i) memory.view.as<float>()[i] = random.real();
  auto* bytes = static_cast<std::byte*>(memory.view.data);
  const KvCacheView cache{bytes, bytes + memory.view.num_bytes() / 2, DType::kF32, 8, 2, 32};
  const Tensor qkv = random.tensor({71, width});
  std::vector<int32_t> positions = {129};
  for (int32_t p = 30; p < 100; ++p) positions.push_back(p);
  const Tensor position_tensor = int_tensor(positions, {71});
  const Tensor pages = int_tensor({5, 1, 7, 2, 6, 0}, {2, 3});
  const std::vector<SequenceRows> sequences = {{0, 1, 129}, {1, 70, 30}};
  const Tensor together = Tensor::host(DType::kF32, {71, 4 * 32});
  backend_->paged_attention(qkv.view, {sequences, position_tensor.view, pages.view}, shape, cache, together.view,
                            stream_);
  for (size_t s = 0; s < 2; ++s) {
    const int64_t first = sequences[s].first_row;
    const int64_t rows = sequences[s].num_rows;
    SequenceRows own = sequences[s];
    own.first_row = 0;
    const Tensor alone = Tensor::host(DType::kF32, {rows, 4 * 32});
    backend_->paged_attention(
        qkv.view.slice_rows(first, rows),
        {{&own, 1}, position_tensor.view.slice_rows(first, rows), pages.view.slice_rows(static_cast<int64_t>(s), 1)},
        shape, cache, alone.view, stream_);
    expect_same_bits(together.view.slice_rows(first, rows), alone.view);
  }
}

TEST_P(AttentionTest, RopeTableIsTheReferences) {
  RandomValues random(8);
  const Tensor frequency = random.tensor({20});
  const Tensor positions = int_tensor({0, 1, 5, 100, 32767, 1000000}, {6});
  const Tensor actual = Tensor::host(DType::kF32, {6, 40});
  const Tensor expected = Tensor::host(DType::kF32, {6, 40});
  backend_->rope_table(positions.view, frequency.view, actual.view, stream_);
  reference_.rope_table(positions.view, frequency.view, expected.view, stream_);
  expect_same_bits(actual.view, expected.view);
}

// Frequencies of each row its own, and a factor behind them.
TEST_P(AttentionTest, RopeTableOfScaledFrequenciesIsTheReferences) {
  RandomValues random(9);
  const Tensor positions = int_tensor({0, 1, 5, 100, 32767, 1000000}, {6});
  for (const Shape& shape : {Shape{21}, Shape{6, 20}, Shape{6, 21}}) {
    const Tensor frequency = random.tensor(shape);
    const Tensor actual = Tensor::host(DType::kF32, {6, 40});
    const Tensor expected = Tensor::host(DType::kF32, {6, 40});
    backend_->rope_table(positions.view, frequency.view, actual.view, stream_);
    reference_.rope_table(positions.view, frequency.view, expected.view, stream_);
    expect_same_bits(actual.view, expected.view);
    const int64_t width = shape[shape.rank() - 1];
    for (int64_t r = 0; r < 6; ++r) {
      const float* own = frequency.view.as<float>() + (shape.rank() == 2 ? r * width : 0);
      const float factor = width == 21 ? own[20] : 1;
      const float angle = static_cast<float>(positions.view.as<int32_t>()[r]) * own[7];
      EXPECT_EQ(expected.view.as<float>()[r * 40 + 7], std::cos(angle) * factor);
      EXPECT_EQ(expected.view.as<float>()[r * 40 + 27], std::sin(angle) * factor);
    }
  }
}

TEST_P(AttentionTest, NoRowsNoWork) {
  const AttentionShape shape{4, 2, 32, 0};
  const Tensor empty = Tensor::host(DType::kF32, {0, 256});
  const Tensor none = Tensor::host(DType::kI32, {0});
  const Tensor pages = Tensor::host(DType::kI32, {0, 1});
  const KvCacheView cache{nullptr, nullptr, DType::kF32, 0, 2, 32};
  backend_->rope_and_store_kv(empty.view, empty.view, {{}, none.view, pages.view}, shape, cache, stream_);
  backend_->paged_attention(empty.view, {{}, none.view, pages.view}, shape, cache, empty.view, stream_);
}

OCTET_INSTANTIATE_ON_CPU(AttentionTest);
INSTANTIATE_TEST_SUITE_P(Cpu, AttentionValuesTest, testing::Combine(testing::ValuesIn(isas()), testing::Values(2)),
                         backend_param_name);

}  // namespace
}  // namespace octet
