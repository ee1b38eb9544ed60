// ResponseOptions.routed_experts: with each token the experts of its row, whatever runs beside it and on whatever
// ranks.
#include <future>

#include "tests/model/reference_experts.h"
#include "tests/service/ranked_server.h"

namespace octet::testing {
namespace {

using ::testing::ElementsAreArray;

// The demo model's layers and experts a token.
constexpr int kIdsOfToken = 4 * 2;

v1::GenerateRequest request_for_routes(int prompt_tokens, uint32_t max_new_tokens, uint32_t seed) {
  v1::GenerateRequest request = token_request(prompt_tokens, max_new_tokens, seed);
  request.mutable_sampling()->set_temperature(1);
  request.mutable_sampling()->set_seed(seed);
  request.mutable_response()->set_routed_experts(true);
  return request;
}

Reply ask(TestServer& server, const v1::GenerateRequest& request) {
  Reply reply = stream(*server.stub(), request);
  EXPECT_TRUE(reply.status.ok()) << reply.status.error_message();
  return reply;
}

// Every output token has the experts of the token before it, and so have the prompt's where they are listed.
void expect_reference_experts(const v1::GenerateRequest& request, const Reply& reply) {
  static ReferenceExperts reference(demo_model());
  for (const auto& [index, sample] : reply.samples) {
    std::vector<TokenId> ids(request.tokens().ids().begin(), request.tokens().ids().end());
    const size_t prompt_size = ids.size();
    ids.insert(ids.end(), request.resume().token_ids().begin(), request.resume().token_ids().end());
    const size_t first = ids.size();
    ids.insert(ids.end(), sample.tokens.begin(), sample.tokens.end());
    const auto expected = reference.of(ids);
    ASSERT_EQ(sample.token_list.size(), request.stop().max_new_tokens() - (first - prompt_size));
    for (size_t i = 0; i < sample.token_list.size(); ++i) {
      EXPECT_THAT(sample.token_list[i].routed_experts(), ElementsAreArray(expected[first + i - 1])) << i;
    }
    if (!request.response().has_prompt_logprobs() || index != 0) continue;
    ASSERT_EQ(sample.prompt.size(), prompt_size);
    EXPECT_EQ(sample.prompt[0].routed_experts_size(), 0);
    for (size_t i = 1; i < prompt_size; ++i) {
      EXPECT_THAT(sample.prompt[i].routed_experts(), ElementsAreArray(expected[i - 1])) << i;
    }
  }
}

std::vector<v1::GenerateRequest> requests_of_all_kinds() {
  std::vector<v1::GenerateRequest> requests;
  for (uint32_t i = 0; i < 6; ++i) requests.push_back(request_for_routes(1 + static_cast<int>(i) * 37, 12 + i, i));
  requests[1].mutable_sampling()->set_n(3);
  requests[2].mutable_response()->set_prompt_logprobs(0);
  requests[3].mutable_response()->set_echo(true);
  requests[4].mutable_sampling()->set_temperature(0);
  for (const int32_t id : {5, 99, 7}) requests[5].mutable_resume()->add_token_ids(id);
  return requests;
}

// Together, with others who ask for nothing of the kind, in small chunks and with too few pages.
void expect_reference_experts_of_all(TestServer& server) {
  server.runner().slow_down(std::chrono::milliseconds(1));
  const std::vector<v1::GenerateRequest> requests = requests_of_all_kinds();
  std::vector<std::future<Reply>> replies;
  for (const v1::GenerateRequest& asked : requests) {
    for (const bool told : {true, false}) {
      replies.push_back(std::async(std::launch::async, [&server, asked, told] {
        v1::GenerateRequest request = asked;
        request.mutable_response()->set_routed_experts(told);
        request.mutable_response()->set_return_token_ids(true);
        return ask(server, request);
      }));
    }
  }
  for (size_t i = 0; i < requests.size(); ++i) {
    SCOPED_TRACE(i);
    const Reply told = replies[2 * i].get(), untold = replies[2 * i + 1].get();
    expect_reference_experts(requests[i], told);
    for (const auto& [index, sample] : untold.samples) {
      EXPECT_EQ(sample.tokens, told.samples.at(index).tokens);
      for (const v1::Token& token : sample.token_list) EXPECT_EQ(token.routed_experts_size(), 0);
    }
  }
}

TestServerOptions tight_options() {
  TestServerOptions options;
  options.engine = {.prefill_chunk = 48, .max_batch = 8};
  options.kv_cache_tokens = kPageTokens * 9;
  return options;
}

TEST(RoutedExperts, AreThoseOfTheRowBeforeEachToken) {
  TestServer server(tight_options());
  expect_reference_experts_of_all(server);
}

TEST(RoutedExperts, AreTheSameOnFourRanks) {
  for (const Topology& topology :
       {Topology{.world = 4, .tp = 2, .dp = 2, .ep = 4}, Topology{.world = 4, .tp = 4, .ep = 2, .etp = 2}}) {
    with_ranked_server(topology, tight_options(), expect_reference_experts_of_all);
  }
}

TEST(RoutedExperts, DoNotMindThePrefixCache) {
  TestServer server;
  v1::GenerateRequest request = request_for_routes(150, 8, 3);
  const Reply first = ask(server, request), second = ask(server, request);
  EXPECT_EQ(first.samples.at(0).last.usage().cached_tokens(), 0U);
  EXPECT_EQ(second.samples.at(0).last.usage().cached_tokens(), 128U);
  expect_reference_experts(request, first);
  expect_reference_experts(request, second);
  request.mutable_response()->set_echo(true);  // lists a prompt of which nothing was asked
  const Reply echoed = ask(server, request);
  EXPECT_EQ(echoed.samples.at(0).prompt.size(), 150U);
  for (const v1::Token& token : echoed.samples.at(0).prompt) EXPECT_EQ(token.routed_experts_size(), 0);
}

// Unary answers list the tokens, too; ids fit a byte each on the wire.
TEST(RoutedExperts, AreListedCompactly) {
  const TestServer server;
  const Reply reply = generate(*server.stub(), request_for_routes(5, 4, 1));
  ASSERT_TRUE(reply.status.ok()) << reply.status.error_message();
  ASSERT_EQ(reply.samples.at(0).token_list.size(), 4U);
  for (v1::Token token : reply.samples.at(0).token_list) {
    EXPECT_EQ(token.routed_experts_size(), kIdsOfToken);
    const size_t with = token.ByteSizeLong();
    token.clear_routed_experts();
    EXPECT_EQ(with - token.ByteSizeLong(), kIdsOfToken + 2U);
  }
}

}  // namespace
}  // namespace octet::testing
