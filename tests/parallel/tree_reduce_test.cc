// Sums over ranks: the bits of the plain midpoint tree, whatever the number of ranks.
#include "parallel/tree_reduce.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "comm/thread_comm.h"
#include "kernels/backend_factory.h"
#include "parallel/shard_plan.h"

namespace octet {
namespace {

constexpr int64_t kWidth = 5;

// Of widely different sizes, so that another order of additions gives other bits.
std::vector<float> random_values(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    value = std::ldexp(static_cast<float>(random()) / 4e9F - 0.5F, static_cast<int>(random() % 20));
  }
  return values;
}

// sum[i,j) = sum[i,m) + sum[m,j), m = (i+j)/2.
std::vector<float> tree_sum(const std::vector<std::vector<float>>& parts, size_t begin, size_t end) {
  if (end - begin == 1) return parts[begin];
  std::vector<float> left = tree_sum(parts, begin, (begin + end) / 2);
  const std::vector<float> right = tree_sum(parts, (begin + end) / 2, end);
  for (size_t i = 0; i < left.size(); ++i) left[i] += right[i];
  return left;
}

Tensor tensor_of(const std::vector<float>& values) {
  Tensor tensor = Tensor::host(DType::kF32, {std::ssize(values) / kWidth, kWidth});
  std::copy(values.begin(), values.end(), tensor.view.as<float>());
  return tensor;
}

std::vector<float> values_of(TensorView view) { return {view.as<float>(), view.as<float>() + view.num_elements()}; }

// Calls body(reducer, rank) on every rank.
void on_ranks(int num_ranks, const std::function<void(TreeReducer&, int)>& body) {
  const Status status = ThreadWorld::run(num_ranks, [&](CommWorld& world) -> Status {
    std::vector<int> ranks(static_cast<size_t>(num_ranks));
    std::iota(ranks.begin(), ranks.end(), 0);
    const auto comm = world.make_group(ranks);
    OCTET_ASSIGN_OR_RETURN(const auto backend, make_backend({"reference", 1, ""}));
    TreeReducer reducer(*backend, *comm, 40 * kWidth);
    body(reducer, world.rank());
    return ok_status();
  });
  EXPECT_TRUE(status.ok()) << status.message();
}

class TreeReduceTest : public testing::TestWithParam<int> {
 protected:
  // One contribution a rank.
  std::vector<std::vector<float>> contributions(int64_t rows) const {
    std::vector<std::vector<float>> all;
    for (int rank = 0; rank < GetParam(); ++rank) {
      all.push_back(random_values(rows * kWidth, static_cast<uint32_t>(100 * rows + rank)));
    }
    return all;
  }
};

TEST_P(TreeReduceTest, AllReduceGivesEveryRankTheSumOfTheTree) {
  for (const int64_t rows : {0, 1, 2, 7, 40}) {
    const auto all = contributions(rows);
    const std::vector<float> expected = tree_sum(all, 0, all.size());
    on_ranks(GetParam(), [&](TreeReducer& reducer, int rank) {
      const Tensor values = tensor_of(all[static_cast<size_t>(rank)]);
      HostStream stream;
      reducer.all_reduce(values.view, stream);
      EXPECT_EQ(values_of(values.view), expected);
    });
  }
}

TEST_P(TreeReduceTest, ReduceScatterGivesEachRankItsRowsOfTheSum) {
  const auto all = contributions(23);
  const std::vector<float> expected = tree_sum(all, 0, all.size());
  std::vector<int64_t> rows_of(all.size(), 0);  // uneven: everything but two rows goes to the last rank
  rows_of.front() += 2;
  rows_of.back() += 21;
  on_ranks(GetParam(), [&](TreeReducer& reducer, int rank) {
    const Tensor values = tensor_of(all[static_cast<size_t>(rank)]);
    HostStream stream;
    const TensorView mine = reducer.reduce_scatter(values.view, rows_of, stream);
    const auto first = expected.begin() + std::accumulate(rows_of.begin(), rows_of.begin() + rank, int64_t{0}) * kWidth;
    EXPECT_EQ(values_of(mine), (std::vector<float>(first, first + rows_of[static_cast<size_t>(rank)] * kWidth)));
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, TreeReduceTest, testing::Range(1, 9));

// What makes layouts alike: ranks that have added their own nodes of a finer tree end with the finer tree's sum.
TEST(TreeReduce, SumsOfSumsAreTheFinerTree) {
  constexpr int64_t kPartials = 8;
  std::vector<std::vector<float>> partials;
  for (uint32_t i = 0; i < kPartials; ++i) partials.push_back(random_values(3 * kWidth, 7 + i));
  const std::vector<float> expected = tree_sum(partials, 0, kPartials);
  for (const int num_ranks : {1, 2, 4, 8}) {
    on_ranks(num_ranks, [&](TreeReducer& reducer, int rank) {
      const Range mine = near_equal_part(kPartials, num_ranks, rank);
      const Tensor values =
          tensor_of(tree_sum(partials, static_cast<size_t>(mine.begin), static_cast<size_t>(mine.end)));
      HostStream stream;
      reducer.all_reduce(values.view, stream);
      EXPECT_EQ(values_of(values.view), expected) << num_ranks << " ranks";
    });
  }
}

}  // namespace
}  // namespace octet
