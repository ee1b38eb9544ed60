// What a client that behaves gets.
#include <future>

#include "tests/service/test_server.h"

namespace octet::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class Generate : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { server_ = std::make_unique<TestServer>(); }
  static void TearDownTestSuite() { server_.reset(); }
  void SetUp() override { server_->runner().slow_down(std::chrono::microseconds(0)); }

  static Reply ask(const v1::GenerateRequest& request) {
    Reply reply = stream(*server_->stub(), request);
    EXPECT_TRUE(reply.status.ok()) << reply.status.error_message();
    return reply;
  }

  static std::unique_ptr<TestServer> server_;
};

std::unique_ptr<TestServer> Generate::server_;

TEST_F(Generate, StreamsTheTextThatUnaryGivesAtOnce) {
  server_->runner().slow_down(std::chrono::milliseconds(5));  // chunks that wait become one
  v1::GenerateRequest request = text_request("In the beginning", 24);
  request.mutable_response()->set_return_token_ids(true);
  const Reply streamed = ask(request);
  const Reply whole = generate(*server_->stub(), request);
  ASSERT_TRUE(whole.status.ok()) << whole.status.error_message();
  EXPECT_FALSE(streamed.text().empty());
  EXPECT_EQ(streamed.text(), whole.text());
  EXPECT_EQ(streamed.tokens(), whole.tokens());
  EXPECT_EQ(streamed.tokens().size(), 24U);
  EXPECT_GT(streamed.num_chunks, 1);
  EXPECT_EQ(whole.num_chunks, 1);
}

TEST_F(Generate, TheLastChunkTellsWhyAndWhatItCost) {
  const Reply reply = ask(text_request("In the beginning", 8));
  const v1::GenerateChunk& last = reply.samples.at(0).last;
  EXPECT_EQ(last.finish_reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(last.usage().completion_tokens(), 8U);
  EXPECT_GT(last.usage().prompt_tokens(), 2U);
  const v1::Timings& timings = last.timings();
  EXPECT_GT(timings.time_to_first_token(), 0);
  EXPECT_GE(timings.total(), timings.time_to_first_token());
  EXPECT_LE(timings.queue() + timings.prefill() + timings.decode(), timings.total() + 1e-3);
}

TEST_F(Generate, TheSameSeedDrawsTheSameTokens) {
  v1::GenerateRequest request = text_request("Once upon a time", 24);
  request.mutable_sampling()->set_temperature(1);
  const Reply drawn = ask(request);  // the server draws a seed and reports it
  request.mutable_sampling()->set_seed(drawn.seed);
  EXPECT_EQ(ask(request).text(), drawn.text());
  request.mutable_sampling()->set_seed(drawn.seed + 1);
  EXPECT_NE(ask(request).text(), drawn.text());
}

TEST_F(Generate, SamplesAreThoseOfTheirIndexAlone) {
  v1::GenerateRequest request = text_request("Once upon a time", 16);
  request.mutable_sampling()->set_temperature(1);
  request.mutable_sampling()->set_seed(7);
  request.mutable_sampling()->set_n(3);
  const Reply together = ask(request);
  ASSERT_EQ(together.samples.size(), 3U);
  EXPECT_NE(together.samples.at(0).text, together.samples.at(1).text);
  request.mutable_sampling()->set_n(1);
  for (uint32_t index = 0; index < 3; ++index) {
    request.mutable_resume()->set_sample_index(index);
    EXPECT_EQ(ask(request).text(), together.samples.at(index).text) << index;
  }
}

// Cut after every chunk: what was delivered and what the resumed stream brings are the whole, text and tokens.
TEST_F(Generate, AResumedStreamGoesOnWithTheSameBits) {
  for (const bool chat : {false, true}) {
    v1::GenerateRequest request = text_request("Ein Übergang — naïve", 20);
    if (chat) {
      v1::ChatMessage& message = *request.mutable_chat()->add_messages();
      message.set_role("user");
      message.set_content("Where is the sea?");
    }
    request.mutable_sampling()->set_temperature(1.3F);
    request.mutable_sampling()->set_seed(11);
    request.mutable_sampling()->set_frequency_penalty(0.5F);
    request.mutable_stop()->add_stop("qqqq");
    request.mutable_response()->set_return_token_ids(true);
    const Reply whole = ask(request);
    v1::GenerateRequest first_part = request;
    for (uint32_t cut = 1; cut < 20; ++cut) {
      first_part.mutable_stop()->set_max_new_tokens(cut);
      const std::string delivered = ask(first_part).text();
      v1::GenerateRequest rest = request;
      for (uint32_t i = 0; i < cut; ++i) rest.mutable_resume()->add_token_ids(whole.tokens()[i]);
      const Reply resumed = ask(rest);
      EXPECT_EQ(resumed.tokens(), std::vector<int32_t>(whole.tokens().begin() + cut, whole.tokens().end())) << cut;
      EXPECT_THAT(whole.text(), ::testing::EndsWith(resumed.text())) << cut;
      // The end that the cut brought may be U+FFFD for a character that the rest completes; otherwise the two are all.
      if (whole.text().starts_with(delivered)) {
        EXPECT_EQ(delivered + resumed.text(), whole.text()) << cut;
      }
      EXPECT_EQ(resumed.samples.at(0).last.usage().completion_tokens(), 20U);
    }
  }
}

TEST_F(Generate, AStopStringEndsTheTextBeforeOrBehindIt) {
  const std::string alone = ask(text_request("In the beginning", 32)).text();
  const std::string stop = alone.substr(alone.size() / 2, 3);
  const size_t at = alone.find(stop);
  v1::GenerateRequest request = text_request("In the beginning", 32);
  request.mutable_stop()->add_stop(stop);
  const Reply before = ask(request);
  EXPECT_EQ(before.text(), alone.substr(0, at));
  EXPECT_EQ(before.samples.at(0).finish, v1::FINISH_REASON_STOP);
  EXPECT_EQ(before.samples.at(0).last.stop_text(), stop);
  request.mutable_stop()->set_include_stop(true);
  EXPECT_EQ(ask(request).text(), alone.substr(0, at + stop.size()));
}

TEST_F(Generate, AStopTokenEndsTheOutput) {
  v1::GenerateRequest request = text_request("In the beginning", 32);
  request.mutable_response()->set_return_token_ids(true);
  const std::vector<int32_t> alone = ask(request).tokens();
  request.mutable_stop()->add_stop_token_ids(alone[5]);
  const Reply reply = ask(request);
  const auto first = std::find(alone.begin(), alone.end(), alone[5]);
  EXPECT_EQ(reply.tokens(), std::vector<int32_t>(alone.begin(), first + 1));
  EXPECT_EQ(reply.samples.at(0).last.stop_token_id(), alone[5]);
}

TEST_F(Generate, EchoPutsThePromptInFront) {
  v1::GenerateRequest request = text_request("In the beginning", 12);
  const std::string alone = ask(request).text();
  request.mutable_response()->set_echo(true);
  EXPECT_EQ(ask(request).text(), "In the beginning" + alone);
  request.mutable_stop()->set_max_new_tokens(0);
  const Reply only = ask(request);
  EXPECT_EQ(only.text(), "In the beginning");
  EXPECT_EQ(only.samples.at(0).last.usage().completion_tokens(), 0U);
}

TEST_F(Generate, LogprobsOfOutputAndPromptAgree) {
  v1::GenerateRequest request = text_request("In the beginning", 12);
  request.mutable_response()->set_logprobs(3);
  const Reply reply = ask(request);
  const auto& tokens = reply.samples.at(0).token_list;
  ASSERT_EQ(tokens.size(), 12U);
  for (const v1::Token& token : tokens) {
    ASSERT_EQ(token.top_size(), 3);
    EXPECT_EQ(token.top(0).id(), token.id());  // greedy
    EXPECT_FLOAT_EQ(token.top(0).logprob(), token.logprob());
    EXPECT_GE(token.top(0).logprob(), token.top(1).logprob());
    EXPECT_LE(token.logprob(), 0);
  }
  // The output as a prompt has the same log-probabilities, to the bit.
  v1::TokenizeRequest tokenize;
  tokenize.set_text("In the beginning");
  v1::TokenizeResponse prompt;
  grpc::ClientContext context;
  ASSERT_TRUE(server_->stub()->Tokenize(&context, tokenize, &prompt).ok());
  v1::GenerateRequest scored = text_request("", 0);
  for (const int32_t id : prompt.ids()) scored.mutable_tokens()->add_ids(id);
  for (const int32_t id : reply.tokens()) scored.mutable_tokens()->add_ids(id);
  scored.mutable_response()->set_prompt_logprobs(3);
  const Reply scored_reply = ask(scored);
  const auto& scores = scored_reply.samples.at(0).prompt;
  ASSERT_EQ(scores.size(), static_cast<size_t>(prompt.ids_size()) + 12);
  EXPECT_FALSE(scores[0].has_logprob());
  for (size_t i = 0; i < 12; ++i) {
    const v1::Token& score = scores[static_cast<size_t>(prompt.ids_size()) + i];
    EXPECT_EQ(score.id(), tokens[i].id());
    EXPECT_EQ(score.logprob(), tokens[i].logprob());
  }
}

TEST_F(Generate, ABiasDecides) {
  v1::GenerateRequest request = text_request("In the beginning", 4);
  (*request.mutable_sampling()->mutable_logit_bias())[77] = 100;
  request.mutable_response()->set_return_token_ids(true);
  EXPECT_THAT(ask(request).tokens(), ElementsAre(77, 77, 77, 77));
}

TEST_F(Generate, SpecialTokensAppearWhereTheyAreWanted) {
  v1::GenerateRequest request = text_request("In the beginning", 4);
  request.mutable_stop()->set_ignore_eos(false);
  (*request.mutable_sampling()->mutable_logit_bias())[2] = 100;
  const Reply hidden = ask(request);
  EXPECT_EQ(hidden.text(), "");
  EXPECT_EQ(hidden.samples.at(0).finish, v1::FINISH_REASON_EOS);
  request.mutable_response()->set_keep_special(true);
  EXPECT_EQ(ask(request).text(), "</s>");
  request.mutable_response()->set_echo(true);
  EXPECT_THAT(ask(request).text(), StartsWith("<s>"));
}

TEST_F(Generate, AChatIsAnsweredInItsFormat) {
  v1::GenerateRequest request = text_request("", 12);
  v1::ChatMessage& message = *request.mutable_chat()->add_messages();
  message.set_role("user");
  message.set_content("Tell me a story");
  v1::TokenizeRequest tokenize;
  *tokenize.mutable_chat() = request.chat();
  v1::TokenizeResponse prompt;
  grpc::ClientContext context;
  ASSERT_TRUE(server_->stub()->Tokenize(&context, tokenize, &prompt).ok());
  v1::GenerateRequest as_tokens = text_request("", 12);
  for (const int32_t id : prompt.ids()) as_tokens.mutable_tokens()->add_ids(id);
  request.mutable_response()->set_return_token_ids(true);
  as_tokens.mutable_response()->set_return_token_ids(true);
  EXPECT_EQ(ask(request).tokens(), ask(as_tokens).tokens());
}

TEST_F(Generate, TheTimeLimitEndsAnOutputInGoodOrder) {
  server_->runner().slow_down(std::chrono::milliseconds(5));
  v1::GenerateRequest request = text_request("In the beginning", 2000);
  uint32_t num_tokens = 0;
  for (uint32_t limit = 200; num_tokens == 0 && limit < 5000; limit *= 2) {  // a busy machine may need it all to begin
    request.mutable_stop()->set_time_limit_ms(limit);
    const Reply reply = ask(request);
    EXPECT_EQ(reply.samples.at(0).finish, v1::FINISH_REASON_TIME_LIMIT);
    num_tokens = reply.samples.at(0).last.usage().completion_tokens();
    EXPECT_EQ(reply.text().empty(), num_tokens == 0);
    EXPECT_EQ(server_->await_idle(), 0);
  }
  EXPECT_GT(num_tokens, 0U);
}

TEST_F(Generate, ADeadlineEndsTheCallAndFreesItsPages) {
  server_->runner().slow_down(std::chrono::milliseconds(5));
  const Reply reply =
      stream(*server_->stub(), text_request("In the beginning", 2000), {.deadline = std::chrono::milliseconds(200)});
  EXPECT_EQ(reply.status.error_code(), GrpcCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(server_->await_idle(), 0);
}

TEST_F(Generate, TokenizeAndDetokenizeAreInverse) {
  const auto stub = server_->stub();
  const std::string text = "Über 100 naïve\n\tcafés, 日本語 \xF0\x9F\x98\x80";
  grpc::ClientContext there, back;
  v1::TokenizeRequest tokenize;
  tokenize.set_text(text);
  v1::TokenizeResponse tokens;
  ASSERT_TRUE(stub->Tokenize(&there, tokenize, &tokens).ok());
  EXPECT_EQ(tokens.pieces_size(), tokens.ids_size());
  v1::DetokenizeRequest detokenize;
  *detokenize.mutable_ids() = tokens.ids();
  v1::DetokenizeResponse response;
  ASSERT_TRUE(stub->Detokenize(&back, detokenize, &response).ok());
  EXPECT_EQ(response.text(), text);
}

TEST_F(Generate, TheServerTellsWhatItIs) {
  grpc::ClientContext context;
  v1::ModelInfo model;
  ASSERT_TRUE(server_->stub()->GetModelInfo(&context, {}, &model).ok());
  EXPECT_EQ(model.name(), "octet-demo");
  EXPECT_EQ(model.vocab_size(), 4096);
  EXPECT_EQ(model.num_experts(), 8);
  EXPECT_TRUE(model.has_tokenizer());
  const v1::ServerInfo info = server_->info();
  EXPECT_EQ(info.layout().num_ranks(), 1);
  EXPECT_EQ(info.limits().max_n(), 64);
  EXPECT_EQ(info.limits().max_prompt_bytes(), 512 << 10);
  EXPECT_EQ(info.limits().kv_cache_tokens(), 4096);
}

TEST_F(Generate, TheServerTellsWhereTheTimeOfStepsGoes) {
  const v1::StepSeconds before = server_->info().step_seconds();
  ASSERT_TRUE(stream(*server_->stub(), text_request("In the beginning", 20)).status.ok());
  const v1::StepSeconds after = server_->info().step_seconds();
  EXPECT_GT(after.model(), before.model());
  EXPECT_GT(after.sample(), before.sample());
  EXPECT_GT(after.deliver(), before.deliver());
  EXPECT_GT(after.schedule(), before.schedule());
  EXPECT_GT(after.service(), before.service());
}

// A failed model fails everything at once, and the server says so.
TEST(GenerateFailure, EveryCallHearsThatTheModelFailed) {
  TestServer server;
  const auto stub = server.stub();
  server.runner().close();
  std::vector<std::future<Reply>> replies;
  for (int i = 0; i < 4; ++i) {
    replies.push_back(std::async(std::launch::async, [&] { return stream(*stub, text_request("a", 100)); }));
  }
  server.runner().await_step();
  server.runner().fail_next();
  server.runner().open();
  for (auto& reply : replies) {
    const grpc::Status status = reply.get().status;
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(status.error_message(), HasSubstr("told to fail"));
  }
  EXPECT_EQ(stream(*stub, text_request("a", 4)).status.error_code(), GrpcCode::UNAVAILABLE);
  while (server.server().failure().ok()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

}  // namespace
}  // namespace octet::testing
