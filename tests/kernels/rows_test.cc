// Row-wise operations, routing and combining of the cpu backend against the reference backend.
#include <numeric>

#include "tests/kernels/kernels_fixture.h"

namespace octet {
namespace {

class RowsTest : public CpuBackendTest {};

constexpr int64_t kWidths[] = {1, 7, 8, 15, 16, 17, 63, 64, 65, 100, 4096};

TEST_P(RowsTest, RmsNormMatchesTheReference) {
  RandomValues random(1);
  for (const int64_t width : kWidths) {
    for (const int64_t rows : {0, 1, 2, 5, 64}) {
      SCOPED_TRACE(testing::Message() << rows << " rows of " << width);
      const Tensor x = random.tensor({rows, width});
      const Tensor weight = random.tensor({width});
      const Tensor actual = Tensor::host(DType::kF32, {rows, width});
      const Tensor expected = Tensor::host(DType::kF32, {rows, width});
      backend_->rms_norm(x.view, weight.view, 1e-5F, actual.view, stream_);
      reference_.rms_norm(x.view, weight.view, 1e-5F, expected.view, stream_);
      expect_near(actual.view, expected.view, 2e-6);
      backend_->rms_norm(x.view, weight.view, 1e-5F, x.view, stream_);
      expect_same_bits(x.view, actual.view);
    }
  }
}

TEST_P(RowsTest, RmsNormHasTheSameBitsOnEveryInstructionSet) {
  RandomValues random(2);
  const auto other = cpu_backend(isas().front(), 1);
  for (const int64_t width : kWidths) {
    const Tensor x = random.tensor({20, width});
    const Tensor weight = random.tensor({width});
    const Tensor y = Tensor::host(DType::kF32, {20, width});
    const Tensor expected = Tensor::host(DType::kF32, {1, width});
    backend_->rms_norm(x.view, weight.view, 1e-6F, y.view, stream_);
    for (int64_t r = 0; r < 20; ++r) {
      other->rms_norm(x.view.slice_rows(r, 1), weight.view, 1e-6F, expected.view, stream_);
      expect_same_bits(y.view.slice_rows(r, 1), expected.view);
    }
  }
}

TEST_P(RowsTest, AddIsTheReferences) {
  RandomValues random(3);
  for (const int64_t width : kWidths) {
    const Tensor actual = random.tensor({9, width});
    const Tensor delta = random.tensor({9, width});
    const Tensor expected = Tensor::host(DType::kF32, {9, width});
    std::memcpy(expected.view.data, actual.view.data, static_cast<size_t>(actual.view.num_bytes()));
    backend_->add(actual.view, delta.view, stream_);
    reference_.add(expected.view, delta.view, stream_);
    expect_same_bits(actual.view, expected.view);
  }
}

TEST_P(RowsTest, EmbedAndGatherAreTheReferences) {
  RandomValues random(4);
  for (const int64_t width : kWidths) {
    for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
      const Tensor table = random.tensor(dtype, {11, width});
      const Tensor ids = int_tensor({10, 0, 3, 3, 7}, {5});
      const Tensor actual = Tensor::host(DType::kF32, {5, width});
      const Tensor expected = Tensor::host(DType::kF32, {5, width});
      backend_->embed(ids.view, table.view, actual.view, stream_);
      reference_.embed(ids.view, table.view, expected.view, stream_);
      expect_same_bits(actual.view, expected.view);
      const Tensor gathered = Tensor::host(dtype, {5, width});
      const Tensor expected_rows = Tensor::host(dtype, {5, width});
      backend_->gather_rows(table.view, ids.view, gathered.view, stream_);
      reference_.gather_rows(table.view, ids.view, expected_rows.view, stream_);
      expect_same_bits(gathered.view, expected_rows.view);
    }
  }
}

TEST_P(RowsTest, EveryF16ValueIsWidenedExactly) {
  const Tensor table = Tensor::host(DType::kF16, {1, 65536});
  for (uint32_t bits = 0; bits < 65536; ++bits)
    static_cast<uint16_t*>(table.view.data)[bits] = static_cast<uint16_t>(bits);
  const Tensor ids = int_tensor({0}, {1});
  const Tensor actual = Tensor::host(DType::kF32, {1, 65536});
  const Tensor expected = Tensor::host(DType::kF32, {1, 65536});
  backend_->embed(ids.view, table.view, actual.view, stream_);
  reference_.embed(ids.view, table.view, expected.view, stream_);
  for (int64_t i = 0; i < 65536; ++i) {
    const float value = expected.view.as<float>()[i];
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(actual.view.as<float>()[i])) << i;
    } else {
      ASSERT_EQ(actual.view.as<float>()[i], value) << i;
    }
  }
}

TEST_P(RowsTest, RoutingMatchesTheReferenceAndTiesGoToTheLowestExpert) {
  RandomValues random(5);
  for (const auto& [num_experts, top_k] : {std::pair{8, 2}, {6, 3}, {1, 1}, {4, 4}, {64, 8}}) {
    constexpr int64_t kRows = 700;
    const Tensor logits = Tensor::host(DType::kF32, {kRows, num_experts});
    for (int64_t i = 0; i < logits.view.num_elements(); ++i) {
      // Coarse values, so that many tie.
      logits.view.as<float>()[i] = i % 3 == 0 ? static_cast<float>(random.below(4)) : 10 * random.real();
    }
    const Tensor ids = Tensor::host(DType::kI32, {kRows, top_k});
    const Tensor expected_ids = Tensor::host(DType::kI32, {kRows, top_k});
    const Tensor weights = Tensor::host(DType::kF32, {kRows, top_k});
    const Tensor expected_weights = Tensor::host(DType::kF32, {kRows, top_k});
    backend_->route_top_k(logits.view, ids.view, weights.view, stream_);
    reference_.route_top_k(logits.view, expected_ids.view, expected_weights.view, stream_);
    expect_same_bits(ids.view, expected_ids.view);
    expect_near(weights.view, expected_weights.view, 1e-6);
  }
}

TEST_P(RowsTest, RoutingOfNotANumberStaysInRange) {
  const Tensor logits = Tensor::host(DType::kF32, {1, 4});
  std::fill_n(logits.view.as<float>(), 4, std::nanf(""));
  const Tensor ids = Tensor::host(DType::kI32, {1, 2});
  const Tensor weights = Tensor::host(DType::kF32, {1, 2});
  backend_->route_top_k(logits.view, ids.view, weights.view, stream_);
  EXPECT_EQ(ids.view.as<int32_t>()[0], 0);
  EXPECT_EQ(ids.view.as<int32_t>()[1], 1);
  EXPECT_TRUE(std::isnan(weights.view.as<float>()[0]));
}

// Every upper half, with lower halves on both sides of a tie and on it: also infinities, NaN and subnormals.
Tensor awkward_floats() {
  Tensor tensor = Tensor::host(DType::kF32, {5, 65536});
  auto* bits = static_cast<uint32_t*>(tensor.view.data);
  for (const uint32_t low : {0U, 1U, 0x7fffU, 0x8000U, 0x8001U}) {
    for (uint32_t high = 0; high < 65536; ++high) *bits++ = high << 16 | low;
  }
  return tensor;
}

TEST_P(RowsTest, RoundingToBf16IsTheReferencesForEveryKindOfNumber) {
  const Tensor all = awkward_floats();
  const Tensor actual = Tensor::host(DType::kBF16, {5, 65536});
  const Tensor expected = Tensor::host(DType::kBF16, {5, 65536});
  backend_->convert(all.view, actual.view, stream_);
  reference_.convert(all.view, expected.view, stream_);
  expect_same_bits(actual.view, expected.view);
  const Tensor widened = Tensor::host(DType::kF32, {5, 65536});
  backend_->convert(actual.view, widened.view, stream_);
  backend_->round_to_bf16(all.view, stream_);
  expect_same_bits(all.view, widened.view);
}

TEST_P(RowsTest, ConversionsKeepToTheirElements) {
  RandomValues random(8);
  for (const int64_t width : kWidths) {
    const Tensor source = random.tensor({3, width});
    const Tensor narrow = Tensor::host(DType::kBF16, {4, width});
    const Tensor wide = Tensor::host(DType::kF32, {4, width});
    backend_->convert(source.view, narrow.view.slice_rows(0, 3), stream_);
    backend_->convert(narrow.view.slice_rows(0, 3), wide.view.slice_rows(0, 3), stream_);
    reference_.round_to_bf16(source.view, stream_);
    expect_same_bits(wide.view.slice_rows(0, 3), source.view);
    for (int64_t i = 0; i < width; ++i) {
      EXPECT_EQ(static_cast<const uint16_t*>(narrow.view.data)[3 * width + i], 0);
      EXPECT_EQ(wide.view.as<float>()[3 * width + i], 0);
    }
  }
}

TEST_P(RowsTest, GroupingAndCombiningAreTheReferences) {
  RandomValues random(6);
  for (const int64_t rows : {0, 1, 3, 100, 513}) {
    for (const int64_t top_k : {1, 2, 5}) {
      const Tensor ids = int_tensor(random_choices(random, rows, top_k, 8), {rows, top_k});
      const Tensor local = int_tensor({-1, 2, 0, -1, 1, 3, -1, -1}, {8});
      const auto group = [&](Backend& backend) {
        std::vector<Tensor> groups;
        groups.push_back(Tensor::host(DType::kI32, {5}));
        groups.push_back(Tensor::host(DType::kI32, {rows * top_k}));
        groups.push_back(Tensor::host(DType::kI32, {rows, top_k}));
        backend.group_by_expert(ids.view, local.view, {groups[0].view, groups[1].view, groups[2].view}, stream_);
        return groups;
      };
      const auto actual = group(*backend_);
      const auto expected = group(reference_);
      for (size_t i = 0; i < 3; ++i) expect_same_bits(actual[i].view, expected[i].view);

      const Tensor y = random.tensor({rows * top_k, 77});
      const Tensor weights = random.tensor({rows, top_k});
      for (const DType product : {DType::kF32, DType::kBF16}) {
        const Tensor sum = Tensor::host(DType::kF32, {rows, 77});
        const Tensor expected_sum = Tensor::host(DType::kF32, {rows, 77});
        std::fill_n(sum.view.as<float>(), sum.view.num_elements(), 9.0F);
        const WeightedChoices choices{actual[2].view, ids.view, weights.view, product};
        backend_->weighted_sum(y.view, choices, sum.view, stream_);
        reference_.weighted_sum(y.view, choices, expected_sum.view, stream_);
        expect_same_bits(sum.view, expected_sum.view);
      }
    }
  }
}

TEST_P(RowsTest, UploadAndDownloadKeepBytes) {
  RandomValues random(7);
  const Tensor source = random.tensor({33});
  const Tensor device = Tensor::host(DType::kF32, {33});
  const Tensor back = Tensor::host(DType::kF32, {33});
  backend_->upload(source.view.data, device.view, stream_);
  backend_->download(device.view, back.view.data, stream_);
  expect_same_bits(back.view, source.view);
}

OCTET_INSTANTIATE_ON_CPU(RowsTest);

}  // namespace
}  // namespace octet
