// The choice of tokens by the cpu backend against the definition.
#include "kernels/sampling.h"

#include "tests/kernels/sampling_cases.h"

namespace octet {
namespace {

class SamplingTest : public CpuBackendTest {
 protected:
  // The answers of a backend, in memory that is kept.
  static SampledRows answers(Backend& backend, const SamplingCase& of, Tensor& memory) {
    HostStream stream;
    const int64_t num_top = of.batch.most_top();
    memory = Tensor::host(DType::kI8, {of.batch.size(), SampledRows::stride(num_top)});
    backend.sample(of.logits.view, of.batch, memory.view, stream);
    return {static_cast<std::byte*>(memory.view.data), num_top};
  }
};

TEST_P(SamplingTest, ChoosesWhatTheDefinitionSays) {
  SamplingCases cases(31);
  for (const int64_t vocab : {1, 2, 7, 16, 255, 256, 257, 1000, 8001}) {
    for (const auto& [rows, num_samples] : {std::pair{1, 1}, {3, 40}, {9, 60}}) {
      SCOPED_TRACE(testing::Message() << num_samples << " samples of " << rows << " rows of " << vocab);
      const SamplingCase one = cases.next(rows, vocab, num_samples);
      Tensor actual;
      Tensor expected;
      expect_same_answers(one.batch, answers(*backend_, one, actual), answers(reference_, one, expected));
    }
  }
}

TEST_P(SamplingTest, NothingToChooseIsNoWork) {
  const SamplingCase none{Tensor::host(DType::kF32, {0, 40}), {}};
  Tensor memory;
  answers(*backend_, none, memory);
}

TEST_P(SamplingTest, ColumnsComeSideBySide) {
  RandomValues random(32);
  for (const int64_t rows : {0, 1, 5}) {
    const Tensor left = random.tensor({rows, 33});
    const Tensor right = random.tensor({rows, 7});
    const Tensor out = Tensor::host(DType::kF32, {rows, 41});
    const Tensor expected = Tensor::host(DType::kF32, {rows, 41});
    for (Backend* backend : {static_cast<Backend*>(backend_.get()), static_cast<Backend*>(&reference_)}) {
      const Tensor& to = backend == &reference_ ? expected : out;
      backend->copy_columns(left.view, to.view, 1, stream_);
      backend->copy_columns(right.view, to.view, 34, stream_);
    }
    expect_same_bits(out.view, expected.view);
    for (int64_t r = 0; r < rows; ++r) {
      EXPECT_EQ(out.view.as<float>()[r * 41], 0);
      EXPECT_EQ(out.view.as<float>()[r * 41 + 1], left.view.as<float>()[r * 33]);
      EXPECT_EQ(out.view.as<float>()[r * 41 + 40], right.view.as<float>()[r * 7 + 6]);
    }
  }
}

OCTET_INSTANTIATE_ON_CPU(SamplingTest);

}  // namespace
}  // namespace octet
