// Placements: who owns which expert, and what a placement file may not say.
#include "parallel/expert_placement.h"

#include <gmock/gmock.h>

namespace octet {
namespace {

using ::testing::HasSubstr;
using Places = std::vector<std::vector<int32_t>>;

TEST(ExpertPlacement, LinearDealsRunsAndRoundRobinDealsInTurn) {
  EXPECT_EQ(place_experts_linear(8, 2), (Places{{0, 1, 2, 3}, {4, 5, 6, 7}}));
  EXPECT_EQ(place_experts_linear(8, 3), (Places{{0, 1}, {2, 3, 4}, {5, 6, 7}}));
  EXPECT_EQ(place_experts_round_robin(8, 3), (Places{{0, 3, 6}, {1, 4, 7}, {2, 5}}));
}

TEST(ExpertPlacement, EveryExpertHasOnePlaceAndPlacesAreNearEqual) {
  for (const int64_t num_experts : {1, 6, 8, 64}) {
    for (int num_places = 1; num_places <= num_experts; ++num_places) {
      for (const Places& places :
           {place_experts_linear(num_experts, num_places), place_experts_round_robin(num_experts, num_places)}) {
        ASSERT_EQ(std::ssize(places), num_places);
        for (const auto& owners : places_of_experts(places, num_experts)) EXPECT_EQ(owners.size(), 1U);
        for (const auto& experts : places) {
          EXPECT_TRUE(std::is_sorted(experts.begin(), experts.end()));
          EXPECT_GE(std::ssize(experts), num_experts / num_places);
          EXPECT_LE(std::ssize(experts), (num_experts + num_places - 1) / num_places);
        }
      }
    }
  }
}

TEST(ExpertPlacement, PlacesOfAnExpertAreAllThatOwnItAscending) {
  EXPECT_EQ(places_of_experts({{0, 2}, {1}, {0, 1, 2}}, 4),
            (std::vector<std::vector<int>>{{0, 2}, {1, 2}, {0, 2}, {}}));
}

TEST(ExpertPlacement, FileIsReadSortedAndMayReplicate) {
  const auto places = parse_placement("# the hot one twice\nplaces = [[1, 0], [3, 2, 0]]\n", 4, 2);
  ASSERT_TRUE(places.ok()) << places.status().message();
  EXPECT_EQ(*places, (Places{{0, 1}, {0, 2, 3}}));
  EXPECT_EQ(*parse_placement("places = [[0, 1], []]", 2, 2), (Places{{0, 1}, {}}));
}

TEST(ExpertPlacement, FileThatIsNoPlacementIsRefusedAndSaysWhy) {
  const std::pair<const char*, const char*> cases[] = {
      {"places = [[0, 1], [2, 3", "line 1: "},
      {"\n\nplaces = 1 1", "line 3: "},
      {"", "places = [[…], …] is expected"},
      {"places = 3", "places = [[…], …] is expected"},
      {"place = [[0, 1], [2, 3]]", "places = [[…], …] is expected"},
      {"places = [[0, 1], [2, 3]]\nother = 1", "and nothing else"},
      {"places = [[0, 1, 2, 3]]", "1 places for a layout of 2"},
      {"places = [[0, 1], [2], [3]]", "3 places for a layout of 2"},
      {"places = [[0, 1], 2]", "place 1: not a list of experts"},
      {"places = [[0, 1], [2, 4]]", "place 1: an expert is a number from 0 to 3"},
      {"places = [[0, -1], [2, 3]]", "place 0: an expert is a number from 0 to 3"},
      {"places = [[0, 1], [2, 3.0]]", "place 1: an expert is a number from 0 to 3"},
      {"places = [[0, 1], [2, '3']]", "place 1: an expert is a number from 0 to 3"},
      {"places = [[0, 1, 0], [2, 3]]", "place 0: an expert stands there twice"},
      {"places = [[0, 1], [2, 0]]", "expert 3 has no place"},
  };
  for (const auto& [text, message] : cases) {
    const auto places = parse_placement(text, 4, 2);
    ASSERT_FALSE(places.ok()) << text;
    EXPECT_EQ(places.status().code(), StatusCode::kInvalidInput);
    EXPECT_THAT(places.status().message(), HasSubstr(message)) << text;
  }
}

}  // namespace
}  // namespace octet
