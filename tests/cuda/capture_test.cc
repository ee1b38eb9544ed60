// Captured work of the CUDA backend.
#include <numeric>

#include "tests/cuda/cuda_fixture.h"

namespace octet {
namespace {

class CudaCaptureTest : public CudaTest {};

TEST_F(CudaCaptureTest, AReplayWorksOnWhatMemoryHoldsThen) {
  RandomValues random(1);
  const Tensor x = device_zeros(DType::kF32, {3, 17});
  const Tensor delta = random.tensor({3, 17});
  const Tensor device_delta = device(delta);
  std::vector<int> host_work;
  const auto captured = backend_->capture(*stream_, [&] {
    EXPECT_TRUE(stream_->at_replay([&] { host_work.push_back(1); }));
    backend_->add(x.view, device_delta.view, *stream_);
  });
  EXPECT_FALSE(stream_->at_replay([] {}));
  EXPECT_TRUE(host_work.empty());
  const Tensor expected = Tensor::host(DType::kF32, {3, 17});
  expect_same_bits(host(x).view, expected.view);  // captured, not done
  for (int i = 0; i < 3; ++i) {
    captured->replay(*stream_);
    reference_.add(expected.view, delta.view, host_stream_);
  }
  expect_same_bits(host(x).view, expected.view);
  EXPECT_EQ(host_work.size(), 3U);
}

// Attention of one row a sequence reads positions and page tables on the device alone.
TEST_F(CudaCaptureTest, DecodeAttentionFollowsPositionsAndTables) {
  const AttentionShape shape{4, 2, 32, 0};
  RandomValues random(2);
  constexpr int64_t kPages = 12;
  const Tensor pages = random.tensor(DType::kBF16, {2, kPages * 2 * kPageTokens * 32});
  const Tensor device_pages = device(pages);
  const auto cache = [&](const Tensor& memory) {
    auto* bytes = static_cast<std::byte*>(memory.view.data);
    return KvCacheView{bytes, bytes + memory.view.num_bytes() / 2, DType::kBF16, kPages, 2, 32};
  };
  const Tensor qkv = random.tensor({2, 8 * 32});
  const Tensor device_qkv = device(qkv);
  const Tensor positions = device_zeros(DType::kI32, {2});
  const Tensor tables = device_zeros(DType::kI32, {2, 5});
  const Tensor out = device_zeros(DType::kF32, {2, 4 * 32});
  std::vector<SequenceRows> sequences = {{0, 1, 0}, {1, 1, 0}};
  const auto attend = [&] {
    backend_->paged_attention(device_qkv.view, {sequences, positions.view, tables.view}, shape, cache(device_pages),
                              out.view, *stream_);
  };
  attend();  // allocates
  const auto captured = backend_->capture(*stream_, attend);
  for (const auto& [first, second] : {std::pair{0, 319}, {200, 64}}) {
    const Tensor now = int_tensor({first, second}, {2});
    std::vector<int32_t> ids(10);
    for (int32_t& id : ids) id = random.below(kPages);
    const Tensor now_tables = int_tensor(ids, {2, 5});
    backend_->upload(now.view.data, positions.view, *stream_);
    backend_->upload(now_tables.view.data, tables.view, *stream_);
    captured->replay(*stream_);
    const Tensor actual = host(out);
    const Tensor expected = Tensor::host(DType::kF32, {2, 4 * 32});
    reference_.paged_attention(qkv.view, {sequences, now.view, now_tables.view}, shape, cache(pages), expected.view,
                               host_stream_);
    expect_near(actual.view, expected.view, 2e-5);
  }
}

}  // namespace
}  // namespace octet
