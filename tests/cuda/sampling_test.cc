// The choice of tokens by the CUDA backend: the reference's, to the bit.
#include "tests/cuda/cuda_fixture.h"
#include "tests/kernels/sampling_cases.h"

namespace octet {
namespace {

class CudaSamplingTest : public CudaTest {
 protected:
  void expect_reference_answers(const SamplingCase& one) {
    const int64_t num_top = one.batch.most_top();
    const Shape shape{one.batch.size(), SampledRows::stride(num_top)};
    const Tensor expected = Tensor::host(DType::kI8, shape);
    reference_.sample(one.logits.view, one.batch, expected.view, host_stream_);
    const Tensor logits = device(one.logits);
    const Tensor out = device_zeros(DType::kI8, shape);
    backend_->sample(logits.view, one.batch, out.view, *stream_);
    const Tensor actual = host(out);
    expect_same_answers(one.batch, {static_cast<std::byte*>(actual.view.data), num_top},
                        {static_cast<std::byte*>(expected.view.data), num_top});
    expect_same_bits(host(logits).view, one.logits.view);  // edits leave the row as it was
  }
};

TEST_F(CudaSamplingTest, ChoosesWhatTheReferenceChooses) {
  SamplingCases cases(41);
  for (const int64_t vocab : {1, 33, 1000, 2051}) {
    for (const auto& [rows, num_samples] : {std::pair{1, 1}, {3, 9}}) {
      SCOPED_TRACE(testing::Message() << num_samples << " samples of " << rows << " rows of " << vocab);
      expect_reference_answers(cases.next(rows, vocab, num_samples));
    }
  }
}

TEST_F(CudaSamplingTest, MoreChoicesThanOneLaunchTakes) {
  SamplingCases cases(42);
  expect_reference_answers(cases.next(5, 8, 130));
}

TEST_F(CudaSamplingTest, NothingToChooseIsNoWork) {
  backend_->sample(device_zeros(DType::kF32, {0, 40}).view, {}, device_zeros(DType::kI8, {0, 24}).view, *stream_);
  stream_->synchronize();
}

TEST_F(CudaSamplingTest, ColumnsComeSideBySide) {
  RandomValues random(43);
  for (const int64_t rows : {0, 1, 5}) {
    const Tensor left = random.tensor({rows, 33});
    const Tensor right = random.tensor({rows, 7});
    const Tensor expected = Tensor::host(DType::kF32, {rows, 41});
    reference_.copy_columns(left.view, expected.view, 1, host_stream_);
    reference_.copy_columns(right.view, expected.view, 34, host_stream_);
    const Tensor out = device_zeros(DType::kF32, {rows, 41});
    backend_->copy_columns(device(left).view, out.view, 1, *stream_);
    backend_->copy_columns(device(right).view, out.view, 34, *stream_);
    expect_same_bits(host(out).view, expected.view);
  }
}

}  // namespace
}  // namespace octet
