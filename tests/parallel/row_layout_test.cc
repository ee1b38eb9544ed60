// Slices of a tp group's rows: who keeps which, after a selection too, and what meets in attention.
#include "parallel/row_layout.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "comm/thread_comm.h"
#include "kernels/backend_factory.h"
#include "parallel/tree_reduce.h"

namespace octet {
namespace {

constexpr int64_t kWidth = 3, kMaxRows = 50;

// rows[r, i] = 10 · r + i, for rows [begin, end).
Tensor numbered_rows(Range rows) {
  Tensor tensor = Tensor::host(DType::kF32, {rows.size(), kWidth});
  for (int64_t r = 0; r < rows.size(); ++r) {
    for (int64_t i = 0; i < kWidth; ++i) {
      tensor.view.as<float>()[r * kWidth + i] = static_cast<float>(10 * (rows.begin + r) + i);
    }
  }
  return tensor;
}

std::vector<float> values_of(TensorView view) { return {view.as<float>(), view.as<float>() + view.num_elements()}; }

// A step's rows on one rank.
struct Held {
  int rank = 0;
  StepRows all = {}, wanted = {};
};

class SlicedRowsTest : public testing::TestWithParam<int> {
 protected:
  void on_ranks(const GroupRows& group, const std::function<void(const SlicedRows&, const Held&)>& body) const {
    const Status status = ThreadWorld::run(GetParam(), [&](CommWorld& world) -> Status {
      std::vector<int> ranks(static_cast<size_t>(world.size()));
      std::iota(ranks.begin(), ranks.end(), 0);
      const auto tp = world.make_group(ranks);
      OCTET_ASSIGN_OR_RETURN(const auto backend, make_backend({"reference", 1, ""}));
      TreeReducer reducer(*backend, *tp, kMaxRows * kWidth);
      const SlicedRows layout(*backend, *tp, reducer, kMaxRows, kWidth);
      const StepRowsMaker maker({.world = world.size(), .tp = world.size(), .ep = world.size()}, world.rank());
      Held held{.rank = world.rank()};
      maker.make_all(RowLayoutKind::kSliced, {&group, 1}, held.all);
      maker.make_wanted(RowLayoutKind::kSliced, {&group, 1}, held.wanted);
      body(layout, held);
      return ok_status();
    });
    EXPECT_TRUE(status.ok()) << status.message();
  }
};

TEST_P(SlicedRowsTest, GatherBringsAllRowsAndReduceTheSumsOfMine) {
  for (const int64_t num_rows : {0, 1, 2, 5, 50}) {
    on_ranks({num_rows, {}}, [&](const SlicedRows& layout, const Held& held) {
      HostStream stream;
      EXPECT_EQ(held.all.mine, near_equal_part(num_rows, GetParam(), held.rank));
      const Tensor slice = numbered_rows(held.all.mine);
      EXPECT_EQ(values_of(layout.gather(held.all, slice.view, stream)), values_of(numbered_rows({0, num_rows}).view));
      const Tensor partial = numbered_rows({0, num_rows});
      std::vector<float> expected = values_of(slice.view);
      for (float& value : expected) value *= static_cast<float>(GetParam());
      EXPECT_EQ(values_of(layout.reduce(held.all, partial.view, stream)), expected);
    });
  }
}

// Whatever is selected, each rank keeps those of the selected rows that it had, and gather brings all of them in order.
TEST_P(SlicedRowsTest, SelectKeepsOfEachSliceWhatIsWanted) {
  std::mt19937 random(17);
  for (int round = 0; round < 20; ++round) {
    const int64_t num_rows = static_cast<int64_t>(random() % (kMaxRows + 1));
    std::vector<int32_t> wanted;
    for (int32_t row = 0; row < num_rows; ++row) {
      if (random() % 4 == 0) wanted.push_back(row);
    }
    on_ranks({num_rows, wanted}, [&](const SlicedRows& layout, const Held& held) {
      HostStream stream;
      const Range slice = held.all.mine, kept = held.wanted.mine;
      for (int64_t i = 0; i < std::ssize(wanted); ++i) {
        const int32_t row = wanted[static_cast<size_t>(i)];
        EXPECT_EQ(i >= kept.begin && i < kept.end, row >= slice.begin && row < slice.end) << "rank " << held.rank;
      }
      const Tensor mine = numbered_rows(kept);
      EXPECT_EQ(values_of(layout.gather(held.wanted, mine.view, stream)),
                values_of(numbered_rows({0, std::ssize(wanted)}).view));
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, SlicedRowsTest, testing::Values(1, 2, 3, 4, 8));

}  // namespace
}  // namespace octet
