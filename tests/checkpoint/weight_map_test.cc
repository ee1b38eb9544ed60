// The layouts' maps: whatever the layout, the matrices of a model share out its tensors without gap or overlap.
#include "runtime/checkpoint/weight_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace octet {
namespace {

using ::testing::ElementsAre;

ModelConfig config_of(bool tied) {
  ModelConfig config;
  config.hidden_size = 12;
  config.intermediate_size = 20;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 6;
  config.vocab_size = 50;
  config.num_experts = 3;
  config.experts_per_token = 2;
  config.tie_embeddings = tied;
  return config;
}

// Of one tensor: its shape and the rows that matrices take of it.
struct Use {
  std::vector<int64_t> shape;
  std::vector<std::pair<int64_t, int64_t>> rows;
};

std::map<std::string, Use> uses_of(const WeightMap& map, const ModelConfig& config) {
  std::map<std::string, Use> uses;
  const Status visited = for_each_matrix(config, [&](const MatrixId& id) {
    const MatrixPlace place = place_of(map, config, id);
    EXPECT_FALSE(place.tensor.empty()) << matrix_label(id);
    EXPECT_EQ(place.tensor.find('{'), std::string::npos) << place.tensor;
    EXPECT_EQ(place.shape.back(), place.num_columns) << place.tensor;
    Use& use = uses[place.tensor];
    EXPECT_TRUE(use.shape.empty() || use.shape == place.shape) << place.tensor;
    use.shape = place.shape;
    use.rows.emplace_back(place.first_row, place.num_rows);
    return ok_status();
  });
  EXPECT_TRUE(visited.ok());
  return uses;
}

TEST(WeightMap, MatricesShareOutTheTensors) {
  for (const WeightMap* map : {&kHfMap, &kHfFusedMap, &kNativeMap}) {
    for (auto& [tensor, use] : uses_of(*map, config_of(false))) {
      std::ranges::sort(use.rows);
      int64_t covered = 0;
      for (const auto& [first, count] : use.rows) {
        EXPECT_EQ(first, covered) << tensor;
        covered += count;
      }
      int64_t rows = 1;
      for (size_t i = 0; i + 1 < use.shape.size(); ++i) rows *= use.shape[i];
      EXPECT_EQ(covered, rows) << tensor;
    }
  }
}

TEST(WeightMap, LayoutsHaveTheirTensors) {
  const ModelConfig config = config_of(false);
  EXPECT_EQ(uses_of(kHfMap, config).size(), 3U + 2 * (7 + 3 * 3));
  EXPECT_EQ(uses_of(kNativeMap, config).size(), 3U + 2 * (7 + 3 * 3));
  EXPECT_EQ(uses_of(kHfFusedMap, config).size(), 3U + 2 * (7 + 2));
  EXPECT_EQ(uses_of(kHfMap, config_of(true)).size(), 2U + 2 * (7 + 3 * 3));
}

TEST(WeightMap, FusedExpertsLieBehindOneAnother) {
  const ModelConfig config = config_of(false);
  const MatrixPlace w3 = place_of(kHfFusedMap, config, {MatrixRole::kW3, 1, 2});
  EXPECT_EQ(w3.tensor, "model.layers.1.mlp.experts.gate_up_proj");
  EXPECT_THAT(w3.shape, ElementsAre(3, 40, 12));
  EXPECT_EQ(w3.first_row, 2 * 40 + 20);
  EXPECT_EQ(w3.num_rows, 20);
  const MatrixPlace w2 = place_of(kHfFusedMap, config, {MatrixRole::kW2, 0, 1});
  EXPECT_EQ(w2.tensor, "model.layers.0.mlp.experts.down_proj");
  EXPECT_EQ(w2.first_row, 12);
}

TEST(WeightMap, LabelsSayWhereAMatrixStands) {
  EXPECT_EQ(matrix_label({MatrixRole::kOutput}), "output matrix");
  EXPECT_EQ(matrix_label({MatrixRole::kAttentionOutput, 3}), "layer 3, attention o");
  EXPECT_EQ(matrix_label({MatrixRole::kW2, 3, 7}), "layer 3, expert 7 w2");
}

}  // namespace
}  // namespace octet
