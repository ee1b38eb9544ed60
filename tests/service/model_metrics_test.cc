#include "runtime/service/metrics/model_metrics.h"

#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <string>

namespace octet::testing {
namespace {

std::string scrape(const prometheus::Registry& registry) {
  return prometheus::TextSerializer().Serialize(registry.Collect());
}

ModelTotals totals_of(std::initializer_list<int32_t> chosen) {
  ModelTotals totals{.expert_load = ExpertLoad(2, 4), .steps_of_layout = {1, 2}, .wait_seconds = {0.5, 1.5}};
  totals.expert_load.add(1, std::span(chosen.begin(), chosen.size()));
  return totals;
}

TEST(ModelMetricsTest, CountsTokensOfExpertsAndTheImbalanceOfRanksSinceTheLastUpdate) {
  prometheus::Registry registry;
  ModelMetrics metrics(registry, {{0, 1}, {2, 3}});
  metrics.update(totals_of({0, 1, 2, 3}));
  EXPECT_NE(scrape(registry).find("octet_expert_load_imbalance{layer=\"1\"} 1\n"), std::string::npos);
  metrics.update(totals_of({0, 1, 2, 3, 0, 0, 0, 3}));
  const std::string text = scrape(registry);
  for (const std::string line :
       {"octet_expert_tokens_total{expert=\"0\",layer=\"1\"} 4\n",
        "octet_expert_tokens_total{expert=\"1\",layer=\"1\"} 1\n",
        "octet_expert_tokens_total{expert=\"0\",layer=\"0\"} 0\n", "octet_expert_load_imbalance{layer=\"1\"} 1.5\n",
        "octet_expert_load_imbalance{layer=\"0\"} 1\n", "octet_exchange_mode_total{mode=\"all-to-all\"} 1\n",
        "octet_exchange_mode_total{mode=\"replicated\"} 2\n", "octet_rank_wait_seconds{rank=\"1\"} 1.5\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
  }
}

// An expert that stands in two places gives each half of its tokens.
TEST(ModelMetricsTest, PlacesThatShareAnExpertShareItsTokens) {
  prometheus::Registry registry;
  ModelMetrics metrics(registry, {{0, 1, 2}, {2, 3}});
  metrics.update(totals_of({2, 2, 2, 2, 0, 3}));
  EXPECT_NE(scrape(registry).find("octet_expert_load_imbalance{layer=\"1\"} 1\n"), std::string::npos);
}

}  // namespace
}  // namespace octet::testing
