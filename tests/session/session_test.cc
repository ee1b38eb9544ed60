// A session opened with typed options, as whoever has no command line does, and what it tells.
#include "runtime/session/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/base/temp_folder.h"
#include "tests/model/model_fixture.h"

namespace octet {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// What a session told, in the test's hands.
struct Heard {
  std::vector<SessionStage> stages;
  std::vector<int64_t> bytes, totals;
  int num_ends = 0;
};

class Listening final : public SessionObserver {
 public:
  explicit Listening(Heard& heard) : heard_(heard) {}
  void on_stage(SessionStage stage) override { heard_.stages.push_back(stage); }
  void on_loading(int64_t bytes, int64_t total_bytes) override {
    EXPECT_EQ(heard_.num_ends, 0);
    heard_.bytes.push_back(bytes);
    heard_.totals.push_back(total_bytes);
  }
  void on_loading_end() override { ++heard_.num_ends; }

 private:
  Heard& heard_;
};

SessionOptions small_options() {
  SessionOptions options;
  options.model = testing::demo_model();
  options.backend = {.device = "cpu", .num_threads = 1, .isa = ""};
  options.kv_cache_bytes = 8 << 20;
  options.engine.max_batch = 4;
  options.engine.prefill_chunk = 32;
  return options;
}

// The greedy continuation of some ids.
std::vector<TokenId> continuation(Session& session) {
  Engine engine(session.runner(), session.engine_options());
  Request request{.prompt = {1, 5, 9}};
  request.params.max_tokens = 8;
  request.params.sampling.temperature = 0;
  std::vector<TokenId> output;
  RequestCallbacks callbacks;
  callbacks.on_token = [&output](const TokenEvent& event) {
    output.push_back(event.token_id);
    return false;
  };
  EXPECT_TRUE(engine.submit(std::move(request), std::move(callbacks)).ok());
  EXPECT_TRUE(engine.run_until_idle().ok());
  return output;
}

TEST(Session, TellsItsStagesAndWhatItReads) {
  Heard heard;
  const auto session = Session::open(small_options(), {}, std::make_unique<Listening>(heard));
  ASSERT_TRUE(session.ok()) << session.status().message();
  EXPECT_THAT(heard.stages, ElementsAre(SessionStage::kJoining, SessionStage::kOpening, SessionStage::kJoining,
                                        SessionStage::kJoined));
  EXPECT_THAT(heard.bytes, IsEmpty());  // opening reads no weights
  ASSERT_TRUE((*session)->load().ok());
  ASSERT_THAT(heard.bytes, Not(IsEmpty()));
  EXPECT_TRUE(std::ranges::is_sorted(heard.bytes));
  EXPECT_THAT(heard.totals, Each(heard.totals.front()));
  EXPECT_LE(heard.bytes.back(), heard.totals.front());
  EXPECT_EQ(heard.num_ends, 1);
  EXPECT_EQ(continuation(**session).size(), 8U);
}

TEST(Session, OptionsAreWhatItRunsWith) {
  SessionOptions options = small_options();
  options.max_context = 48;
  options.kv_dtype = DType::kBF16;
  options.engine.prefix_cache = false;
  const auto session = Session::open(options);
  ASSERT_TRUE(session.ok()) << session.status().message();
  EXPECT_EQ((*session)->config().max_positions, 48);
  EXPECT_EQ((*session)->request_bounds().max_context, 48);
  EXPECT_EQ((*session)->engine_options().max_batch, 4);
  EXPECT_FALSE((*session)->engine_options().prefix_cache);
  EXPECT_EQ((*session)->bytes_per_kv_element(), 2);
  ASSERT_TRUE((*session)->load().ok());
  EXPECT_EQ((*session)->runner().max_context(), 48);
  const std::vector<TokenId> output = continuation(**session);
  options.weights = DType::kBF16;
  const auto converted = Session::open(options);
  ASSERT_TRUE(converted.ok()) << converted.status().message();
  EXPECT_EQ((*converted)->bytes_per_weight(), 2);
  ASSERT_TRUE((*converted)->load().ok());
  EXPECT_EQ(continuation(**converted), output);  // the demo model's weights are BF16 in its file
}

TEST(Session, AFileOfPlacementIsRead) {
  const TempFolder folder;
  SessionOptions options = small_options();
  options.placement = {.kind = ExpertPlacement::Kind::kFile, .file = folder / "places.toml"};
  EXPECT_THAT(Session::open(options).status().message(), HasSubstr("places.toml"));
  write_file(folder / "places.toml", "places = [[0]]");
  EXPECT_THAT(Session::open(options).status().message(), AllOf(HasSubstr("places.toml: "), HasSubstr("expert")));
  write_file(folder / "places.toml", "places = [[7, 6, 5, 4, 3, 2, 1, 0]]");
  const auto session = Session::open(options);
  ASSERT_TRUE(session.ok()) << session.status().message();
  EXPECT_EQ((*session)->experts_of_place().size(), 1U);
}

TEST(Session, WhatCannotBeIsBadInput) {
  SessionOptions options = small_options();
  options.max_context = int64_t{1} << 40;
  EXPECT_EQ(Session::open(options).status().code(), StatusCode::kInvalidInput);
  options = small_options();
  options.model = "/nowhere/at/all";
  EXPECT_EQ(Session::open(options).status().code(), StatusCode::kInvalidInput);
  options = small_options();
  options.layout.tp = 2;  // of one rank
  EXPECT_EQ(Session::open(options).status().code(), StatusCode::kInvalidInput);
}

}  // namespace
}  // namespace octet
