// The table of instruction sets, the exponential that all of them share, and the tree of partial sums.
#include "kernels/cpu/isa.h"

#include <gmock/gmock.h>

#include <limits>

#include "kernels/backend_factory.h"
#include "kernels/cpu/partial_tree.h"
#include "tests/kernels/kernels_fixture.h"

namespace octet {
namespace {

TEST(Isa, EmptyNameIsTheBestOfThisMachine) {
  const auto best = find_isa("");
  ASSERT_TRUE(best.ok());
  EXPECT_EQ(best.value().name, isas().back());
}

TEST(Isa, AnUnknownNameIsAnErrorThatNamesWhatThereIs) {
  const Status status = find_isa("sse9").status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidInput);
  EXPECT_THAT(status.message(), testing::AllOf(testing::HasSubstr("--isa sse9"), testing::HasSubstr(supported_isas())));
}

TEST(BackendFactory, MakesWhatItIsAsked) {
  EXPECT_EQ(make_backend({"", 1, ""}).value()->name(), "cpu");
  EXPECT_EQ(make_backend({"cpu", 1, isas().front()}).value()->name(), "cpu");
  EXPECT_EQ(make_backend({"reference", 0, ""}).value()->name(), "reference");
  EXPECT_THAT(make_backend({"gpu", 0, ""}).status().message(), testing::HasSubstr("cpu, reference"));
  EXPECT_THAT(make_backend({"reference", 0, "avx2"}).status().message(), testing::HasSubstr("--isa avx2"));
  EXPECT_EQ(make_backend({"cpu", 0, "sse9"}).status().code(), StatusCode::kInvalidInput);
}

class ExponentialTest : public testing::TestWithParam<std::string> {
 protected:
  float exponential(float x) const {
    find_isa(GetParam()).value().kernels().exponential(&x, 1);
    return x;
  }
};

TEST_P(ExponentialTest, IsWithinThreeUnitsInTheLastPlace) {
  const KernelTable& kernels = find_isa(GetParam()).value().kernels();
  std::vector<float> x;
  for (double v = -86; v < 88.7; v += 0.00037) x.push_back(static_cast<float>(v));
  std::vector<float> y = x;
  kernels.exponential(y.data(), static_cast<int64_t>(y.size()));
  for (size_t i = 0; i < x.size(); ++i) {
    const double exact = std::exp(double{x[i]});
    ASSERT_LE(std::abs(y[i] - exact), 2e-7 * exact) << x[i];
  }
}

TEST_P(ExponentialTest, IsExactWhereTheContractNeedsIt) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(exponential(0.0F), 1.0F);
  EXPECT_EQ(exponential(-0.0F), 1.0F);
  EXPECT_EQ(exponential(-kInfinity), 0.0F);
  EXPECT_EQ(exponential(-1e30F), 0.0F);
  EXPECT_EQ(exponential(-87.0F), 0.0F);
  EXPECT_EQ(exponential(89.0F), kInfinity);
  EXPECT_EQ(exponential(kInfinity), kInfinity);
  EXPECT_TRUE(std::isnan(exponential(std::nanf(""))));
}

INSTANTIATE_TEST_SUITE_P(Cpu, ExponentialTest, testing::ValuesIn(isas()), [](const auto& isa) { return isa.param; });

std::string tree(size_t begin, size_t end) {
  if (end - begin == 1) return std::to_string(begin);
  const size_t middle = (begin + end) / 2;
  return fmt::format("({}+{})", tree(begin, middle), tree(middle, end));
}

TEST(PartialTree, TheStackMachineBuildsTheMidpointTree) {
  for (size_t count = 1; count < 40; ++count) {
    std::vector<std::string> stack;
    for (size_t leaf = 0; leaf < count; ++leaf) {
      stack.push_back(std::to_string(leaf));
      EXPECT_LE(stack.size(), static_cast<size_t>(tree_stack_depth(count)));
      for (int merges = merges_after(leaf, count); merges > 0; --merges) {
        ASSERT_GE(stack.size(), 2U);
        const std::string right = stack.back();
        stack.pop_back();
        stack.back() = fmt::format("({}+{})", stack.back(), right);
      }
    }
    EXPECT_THAT(stack, testing::ElementsAre(tree(0, count)));
  }
}

}  // namespace
}  // namespace octet
