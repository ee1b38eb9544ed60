// What of a step's choices of experts comes to the host: those of the rows that the step has, and no others.
#include "runtime/model/chosen_experts.h"

#include <gtest/gtest.h>

#include "tests/kernels/forwarding_backend.h"
#include "tests/model/reference_experts.h"

namespace octet::testing {
namespace {

// Counts the integers that are downloaded.
class CountingBackend final : public ForwardingBackend {
 public:
  explicit CountingBackend(int64_t& count) : ForwardingBackend(backend_of({"cpu", 1, ""})), count_(count) {}
  void download(TensorView from, void* host, Stream& stream) override {
    if (from.dtype == DType::kI32) count_ += from.num_elements();
    ForwardingBackend::download(from, host, stream);
  }

 private:
  int64_t& count_;
};

TEST(ChosenExperts, AStepDownloadsTheChoicesOfItsRows) {
  int64_t count = 0;
  ModelOnOneRank model(golden_checkpoint("kv8-bf16"), std::make_unique<CountingBackend>(count), kPageTokens);
  const auto checkpoint = Checkpoint::open(golden_checkpoint("kv8-bf16"));
  ASSERT_TRUE(checkpoint.ok());
  const ModelConfig& config = checkpoint->config();
  const std::vector<TokenId> ids = {5, 1, 7, 3, 2};
  const auto expected = [&](int64_t rows, int64_t wanted) {
    return ((config.num_layers - 1) * rows + wanted) * config.experts_per_token;
  };
  model.run_chunk(ids, 0, 4, {1, 3});
  EXPECT_EQ(count, expected(4, 2));
  count = 0;
  model.run_chunk(ids, 4, 5, {4});
  EXPECT_EQ(count, expected(1, 1));
}

// A step that was padded: the choices of the rows that ran lie further apart than those of the plan's would.
TEST(ChosenExperts, OfAPaddedStepThePlansRowsCount) {
  constexpr int64_t kLayers = 3, kTopK = 2, kRan = 4, kRows = 3;
  const auto backend = backend_of({"reference", 1, ""});
  const auto decode_rows = [](int64_t count) {
    PlanRows rows;
    rows.all.mine = rows.wanted.mine = {0, count};
    for (int32_t row = 0; row < count; ++row) rows.kept_wanted.push_back(row);
    return rows;
  };
  const PlanRows ran = decode_rows(kRan), rows = decode_rows(kRows);
  ChosenExperts chosen(*backend, kLayers, 8, kTopK);
  // Layer l's row r chose experts l and 3 + r.
  for (int32_t layer = 0; layer < kLayers; ++layer) {
    int32_t* ids = chosen.layer(layer, ran).as<int32_t>();
    for (int32_t row = 0; row < kRan; ++row) {
      *ids++ = layer;
      *ids++ = 3 + row;
    }
  }
  HostStream stream;
  chosen.download(ran, stream);
  ExpertLoad load(kLayers, 8);
  chosen.count(ran, rows, load);
  std::vector<int32_t> choices;
  chosen.append(ran, rows, choices);
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    for (int64_t expert = 0; expert < 8; ++expert) {
      const int64_t of_layer = expert == layer ? kRows : 0;
      const int64_t of_row = expert >= 3 && expert < 3 + kRows ? 1 : 0;
      EXPECT_EQ(load.tokens(layer, expert), of_layer + of_row) << layer << " " << expert;
    }
  }
  EXPECT_EQ(choices, (std::vector<int32_t>{0, 3, 1, 3, 2, 3, 0, 4, 1, 4, 2, 4, 0, 5, 1, 5, 2, 5}));
}

}  // namespace
}  // namespace octet::testing
