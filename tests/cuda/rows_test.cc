// Row-wise operations, routing and combining of the CUDA backend against the reference backend.
#include <bit>
#include <numeric>

#include "tests/cuda/cuda_fixture.h"

namespace octet {
namespace {

class CudaRowsTest : public CudaTest {};

constexpr int64_t kWidths[] = {1, 7, 8, 15, 33, 64, 100, 2052};

TEST_F(CudaRowsTest, TransfersKeepBytes) {
  RandomValues random(1);
  for (const int64_t count : {int64_t{0}, int64_t{1}, int64_t{33}, int64_t{3 << 19}}) {  // the last one in three pieces
    const Tensor source = random.tensor({count});
    const Tensor on_device = device(source);
    const Tensor twin = device_zeros(DType::kF32, {count});
    backend_->copy(on_device.view, twin.view, *stream_);
    expect_same_bits(host(twin).view, source.view);
  }
}

TEST_F(CudaRowsTest, UploadReadsHostMemoryBeforeItReturns) {
  const Tensor on_device = device_zeros(DType::kI32, {64, 1024});
  std::vector<int32_t> values(1024);
  for (int32_t row = 0; row < 64; ++row) {
    std::fill(values.begin(), values.end(), row);
    backend_->upload(values.data(), on_device.view.slice_rows(row, 1), *stream_);
  }
  const Tensor back = host(on_device);
  for (int64_t i = 0; i < 64 * 1024; ++i) ASSERT_EQ(back.view.as<int32_t>()[i], i / 1024);
}

TEST_F(CudaRowsTest, RmsNormMatchesTheReference) {
  RandomValues random(2);
  for (const int64_t width : kWidths) {
    for (const int64_t rows : {0, 1, 5}) {
      SCOPED_TRACE(testing::Message() << rows << " rows of " << width);
      const Tensor x = random.tensor({rows, width});
      const Tensor weight = random.tensor({width});
      const Tensor expected = Tensor::host(DType::kF32, {rows, width});
      reference_.rms_norm(x.view, weight.view, 1e-5F, expected.view, host_stream_);
      const Tensor in_place = device(x);
      const Tensor device_weight = device(weight);
      const Tensor y = device_zeros(DType::kF32, {rows, width});
      backend_->rms_norm(in_place.view, device_weight.view, 1e-5F, y.view, *stream_);
      backend_->rms_norm(in_place.view, device_weight.view, 1e-5F, in_place.view, *stream_);
      expect_near(host(y).view, expected.view, 2e-6);
      expect_same_bits(host(in_place).view, host(y).view);
    }
  }
}

TEST_F(CudaRowsTest, AddIsTheReferences) {
  RandomValues random(3);
  for (const int64_t width : kWidths) {
    const Tensor x = random.tensor({3, width});
    const Tensor delta = random.tensor({3, width});
    const Tensor sums = device(x);
    backend_->add(sums.view.slice_rows(1, 2), device(delta).view.slice_rows(1, 2), *stream_);
    reference_.add(x.view.slice_rows(1, 2), delta.view.slice_rows(1, 2), host_stream_);
    expect_same_bits(host(sums).view, x.view);
  }
}

TEST_F(CudaRowsTest, EmbedAndGatherAreTheReferences) {
  RandomValues random(4);
  for (const int64_t width : kWidths) {
    for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
      const Tensor table = random.tensor(dtype, {11, width});
      const Tensor ids = int_tensor({10, 0, 3, 3, 7}, {5});
      const Tensor expected = Tensor::host(DType::kF32, {5, width});
      const Tensor expected_rows = Tensor::host(dtype, {5, width});
      reference_.embed(ids.view, table.view, expected.view, host_stream_);
      reference_.gather_rows(table.view, ids.view, expected_rows.view, host_stream_);
      const Tensor device_table = device(table);
      const Tensor device_ids = device(ids);
      const Tensor out = device_zeros(DType::kF32, {5, width});
      const Tensor rows = device_zeros(dtype, {5, width});
      backend_->embed(device_ids.view, device_table.view, out.view, *stream_);
      backend_->gather_rows(device_table.view, device_ids.view, rows.view, *stream_);
      expect_same_bits(host(out).view, expected.view);
      expect_same_bits(host(rows).view, expected_rows.view);
    }
  }
}

TEST_F(CudaRowsTest, NoRowsNoWork) {
  const Tensor none = device_zeros(DType::kF32, {0, 8});
  const Tensor no_ids = device_zeros(DType::kI32, {0});
  backend_->embed(no_ids.view, none.view, none.view, *stream_);
  backend_->gather_rows(none.view, no_ids.view, none.view, *stream_);
  backend_->add(none.view, none.view, *stream_);
  backend_->convert(none.view, device_zeros(DType::kBF16, {0, 8}).view, *stream_);
  backend_->round_to_bf16(none.view, *stream_);
  stream_->synchronize();
}

TEST_F(CudaRowsTest, RoundingToBf16IsTheReferences) {
  // Upper halves of every exponent, lower halves around a tie.
  std::vector<float> values;
  for (uint32_t high = 0; high < 65536; high += 37) {
    for (const uint32_t low : {0U, 0x7fffU, 0x8000U, 0x8001U}) values.push_back(std::bit_cast<float>(high << 16 | low));
  }
  std::erase_if(values, [](float v) { return std::isnan(v); });
  const auto count = static_cast<int64_t>(values.size());
  const Tensor all = Tensor::host(DType::kF32, {count});
  std::copy(values.begin(), values.end(), all.view.as<float>());
  const Tensor wide = device(all);
  const Tensor narrow = device_zeros(DType::kBF16, {count});
  const Tensor widened = device_zeros(DType::kF32, {count});
  backend_->convert(wide.view, narrow.view, *stream_);
  backend_->convert(narrow.view, widened.view, *stream_);
  backend_->round_to_bf16(wide.view, *stream_);
  reference_.round_to_bf16(all.view, host_stream_);
  expect_same_bits(host(wide).view, all.view);
  expect_same_bits(host(widened).view, all.view);
}

TEST_F(CudaRowsTest, RoutingMatchesTheReferenceAndTiesGoToTheLowestExpert) {
  RandomValues random(5);
  for (const auto& [num_experts, top_k] : {std::pair{8, 2}, {6, 3}, {1, 1}, {4, 4}, {40, 8}}) {
    for (const int64_t rows : {0, 1, 300}) {
      const Tensor logits = Tensor::host(DType::kF32, {rows, num_experts});
      for (int64_t i = 0; i < logits.view.num_elements(); ++i) {
        // Coarse values, so that many tie.
        logits.view.as<float>()[i] = i % 3 == 0 ? static_cast<float>(random.below(4)) : 10 * random.real();
      }
      const Tensor expected_ids = Tensor::host(DType::kI32, {rows, top_k});
      const Tensor expected_weights = Tensor::host(DType::kF32, {rows, top_k});
      reference_.route_top_k(logits.view, expected_ids.view, expected_weights.view, host_stream_);
      const Tensor ids = device_zeros(DType::kI32, {rows, top_k});
      const Tensor weights = device_zeros(DType::kF32, {rows, top_k});
      backend_->route_top_k(device(logits).view, ids.view, weights.view, *stream_);
      expect_same_bits(host(ids).view, expected_ids.view);
      expect_near(host(weights).view, expected_weights.view, 1e-6);
    }
  }
}

TEST_F(CudaRowsTest, GroupingAndCombiningAreTheReferences) {
  RandomValues random(6);
  // 8 experts, four of them here; then 50, all here, more than there are warps in a block.
  std::vector<int32_t> all(50);
  std::iota(all.begin(), all.end(), 0);
  for (const auto& [local_of, num_local] :
       {std::pair{std::vector<int32_t>{-1, 2, 0, -1, 1, 3, -1, -1}, 4}, {all, 50}}) {
    for (const int64_t rows : {0, 1, 3, 100}) {
      for (const int64_t top_k : {1, 2, 5}) {
        SCOPED_TRACE(testing::Message() << rows << " rows, top " << top_k << ", " << num_local << " experts here");
        const auto num_experts = static_cast<int64_t>(local_of.size());
        const Tensor ids = int_tensor(random_choices(random, rows, top_k, num_experts), {rows, top_k});
        const Tensor local = int_tensor(local_of, {num_experts});
        const Tensor offsets = Tensor::host(DType::kI32, {num_local + 1});
        const Tensor assignments = Tensor::host(DType::kI32, {rows * top_k});
        const Tensor slots = Tensor::host(DType::kI32, {rows, top_k});
        reference_.group_by_expert(ids.view, local.view, {offsets.view, assignments.view, slots.view}, host_stream_);
        const Tensor device_ids = device(ids);
        const Tensor device_offsets = device_zeros(DType::kI32, {num_local + 1});
        const Tensor device_assignments = device_zeros(DType::kI32, {rows * top_k});
        const Tensor device_slots = device_zeros(DType::kI32, {rows, top_k});
        backend_->group_by_expert(device_ids.view, device(local).view,
                                  {device_offsets.view, device_assignments.view, device_slots.view}, *stream_);
        expect_same_bits(host(device_offsets).view, offsets.view);
        expect_same_bits(host(device_assignments).view, assignments.view);
        expect_same_bits(host(device_slots).view, slots.view);

        const Tensor y = random.tensor({rows * top_k, 77});
        const Tensor weights = random.tensor({rows, top_k});
        const Tensor device_y = device(y);
        const Tensor device_weights = device(weights);
        for (const DType product : {DType::kF32, DType::kBF16}) {
          const Tensor expected = Tensor::host(DType::kF32, {rows, 77});
          reference_.weighted_sum(y.view, {slots.view, ids.view, weights.view, product}, expected.view, host_stream_);
          const Tensor sum = device_zeros(DType::kF32, {rows, 77});
          backend_->weighted_sum(device_y.view, {device_slots.view, device_ids.view, device_weights.view, product},
                                 sum.view, *stream_);
          expect_same_bits(host(sum).view, expected.view);
        }
      }
    }
  }
}

}  // namespace
}  // namespace octet
