#include "runtime/engine/openai_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/engine/batch_file.h"

namespace octet {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* kChat = "/v1/chat/completions";
constexpr const char* kCompletions = "/v1/completions";

BatchLine parse(const std::string& url, const json& body) {
  const json line{{"custom_id", "mine"}, {"method", "POST"}, {"url", url}, {"body", body}};
  return parse_batch_line(line.dump(), 7, {});
}

void expect_refused(const BatchLine& line, int status_code, const std::string& code, const std::string& param) {
  ASSERT_FALSE(line.request.ok());
  const auto answer = json::parse(batch_error_line(line, line.request.status(), line.openai_error));
  EXPECT_EQ(answer["custom_id"], "mine");
  EXPECT_EQ(answer["error"], nullptr);
  EXPECT_EQ(answer["response"]["status_code"], status_code);
  const json error = answer["response"]["body"]["error"];
  EXPECT_EQ(error["code"], code) << answer;
  EXPECT_EQ(error["param"], param.empty() ? json() : json(param)) << answer;
  EXPECT_EQ(error["type"], "invalid_request_error");
  EXPECT_FALSE(error["message"].get<std::string>().empty());
}

TEST(OpenAiLine, AChatIsItsMessagesAndWhatItAsksOfThem) {
  const BatchLine line =
      parse(kChat, {{"model", "m"},
                    {"messages",
                     {{{"role", "developer"}, {"content", "S"}},
                      {{"role", "user"},
                       {"name", "Ann"},
                       {"content", {{{"type", "text"}, {"text", "a"}}, {{"type", "text"}, {"text", "b"}}}}},
                      {{"role", "assistant"}, {"content", nullptr}},
                      {{"role", "user"}, {"content", "c"}}}},
                    {"max_completion_tokens", 5},
                    {"max_tokens", 9},
                    {"temperature", 0.5},
                    {"top_k", -1},
                    {"repeat_penalty", 1.5},
                    {"n", 2},
                    {"stop", "END"},
                    {"seed", -1},
                    {"logit_bias", {{"7", 1}}},
                    {"user", "u"},
                    {"stream", false},
                    {"tools", json::array()},
                    {"response_format", {{"type", "text"}}}});
  ASSERT_TRUE(line.request.ok()) << line.request.status().message();
  EXPECT_EQ(line.id, "\"mine\"");
  ASSERT_TRUE(line.openai);
  EXPECT_TRUE(line.openai->is_chat);
  EXPECT_EQ(line.openai->model, "m");
  const auto& conversation = std::get<Conversation>(line.request->input);
  EXPECT_THAT(conversation.messages,
              ElementsAre(ChatMessage{"system", "S"}, ChatMessage{"user", "a\nb"}, ChatMessage{"user", "c"}));
  EXPECT_FALSE(conversation.continue_last);
  const GenerationParams& params = line.request->params;
  EXPECT_EQ(params.max_tokens, 5);
  EXPECT_EQ(params.sampling.temperature, 0.5);
  EXPECT_EQ(params.sampling.top_k, 0);
  EXPECT_EQ(params.sampling.repetition_penalty, 1.5);
  EXPECT_EQ(params.num_samples, 2);
  EXPECT_THAT(params.stop, ElementsAre("END"));
  EXPECT_EQ(params.sampling.seed, UINT64_MAX);
}

TEST(OpenAiLine, ALastMessageOfTheAssistantIsContinued) {
  json body{{"messages", {{{"role", "user"}, {"content", "a"}}, {{"role", "assistant"}, {"content", "b"}}}}};
  EXPECT_TRUE(std::get<Conversation>(parse(kChat, body).request->input).continue_last);
  EXPECT_EQ(parse(kChat, body).request->params.max_tokens, std::nullopt);  // to the context's end
  body["continue_final_message"] = false;
  expect_refused(parse(kChat, body), 400, "invalid_value", "continue_final_message");
}

TEST(OpenAiLine, ACompletionIsTextOrTokens) {
  const BatchLine text = parse(kCompletions, {{"prompt", "Hello"}});
  EXPECT_EQ(std::get<TextPrompt>(text.request->input).text, "Hello");
  EXPECT_FALSE(text.openai->is_chat);
  EXPECT_EQ(text.request->params.max_tokens, 16);
  EXPECT_EQ(std::get<TextPrompt>(parse(kCompletions, {{"prompt", json::array({"Hello"})}}).request->input).text,
            "Hello");
  const BatchLine ids = parse(kCompletions, {{"prompt", {1, 2, 3}}, {"max_tokens", -1}});
  EXPECT_THAT(std::get<std::vector<TokenId>>(ids.request->input), ElementsAre(1, 2, 3));
  EXPECT_EQ(ids.request->params.max_tokens, 16);
}

TEST(OpenAiLine, WhatIsWrongIsToldInItsOwnForm) {
  const json user = json::array({{{"role", "user"}, {"content", "a"}}});
  const auto chat = [&user](json more) {
    more["messages"] = user;
    return parse(kChat, more);
  };
  expect_refused(parse("/v1/embeddings", json::object()), 404, "unsupported_endpoint", "");
  expect_refused(parse(kChat, json::object()), 400, "missing_required_parameter", "messages");
  expect_refused(parse(kCompletions, json::object()), 400, "missing_required_parameter", "prompt");
  expect_refused(parse(kCompletions, {{"prompt", ""}}), 400, "invalid_value", "prompt");
  expect_refused(parse(kCompletions, {{"prompt", {"a", "b"}}}), 400, "invalid_type", "prompt");
  expect_refused(parse(kCompletions, {{"prompt", {-1}}}), 400, "invalid_type", "prompt");
  expect_refused(parse(kChat, {{"messages", json::array()}}), 400, "invalid_messages", "messages");
  expect_refused(parse(kChat, {{"messages", {{{"role", "tool"}, {"content", "a"}}}}}), 400, "invalid_messages",
                 "messages");
  expect_refused(parse(kChat, {{"messages", {{{"role", "user"}, {"content", {{{"type", "image_url"}}}}}}}}), 400,
                 "invalid_messages", "messages");
  expect_refused(chat({{"temperature", "hot"}}), 400, "invalid_value", "temperature");
  expect_refused(chat({{"stop", 3}}), 400, "invalid_value", "stop");
  expect_refused(chat({{"model", 3}}), 400, "invalid_type", "model");
  expect_refused(chat({{"stream", true}}), 400, "unsupported_parameter", "stream");
  expect_refused(chat({{"logprobs", true}}), 400, "unsupported_parameter", "logprobs");
  expect_refused(chat({{"tools", {1}}}), 400, "unsupported_parameter", "tools");
  expect_refused(chat({{"best_of", 2}}), 400, "unsupported_parameter", "best_of");
  expect_refused(chat({{"response_format", {{"type", "json_object"}}}}), 400, "unsupported_parameter",
                 "response_format");
}

// What the engine refuses it calls by its own names.
TEST(OpenAiLine, FieldsHaveTheNamesOfTheBody) {
  const BatchLine chat = parse(
      kChat,
      {{"messages", {{{"role", "user"}, {"content", "a"}}}}, {"max_completion_tokens", 5}, {"repeat_penalty", 20}});
  EXPECT_EQ(openai_field(*chat.openai, "repetition_penalty"), "repeat_penalty");
  EXPECT_EQ(openai_field(*chat.openai, "max_tokens"), "max_completion_tokens");
  EXPECT_EQ(openai_field(*chat.openai, "prompt"), "messages");
  const BatchLine text = parse(kCompletions, {{"prompt", "a"}, {"n", 2}});
  EXPECT_EQ(openai_field(*text.openai, "prompt"), "prompt");
  EXPECT_EQ(openai_field(*text.openai, "num_samples"), "n");
  EXPECT_EQ(openai_field(*text.openai, "max_tokens"), "max_tokens");
  EXPECT_EQ(openai_field(*text.openai, ""), "");
  for (const GenerationParam& param : generation_params()) {
    const bool has_none = param.name == std::string_view("logprobs") || param.name == std::string_view("cache_salt");
    EXPECT_EQ(openai_field(*text.openai, param.name).empty(), has_none) << param.name;
  }
}

TEST(OpenAiLine, AnsweredOnesAreKeptAndErrorsAskedAgain) {
  const auto line = [](const char* id, const json& body) { return openai_answer_line(id, 200, body).dump() + "\n"; };
  const std::string kept = line("a", {{"choices", {{{"index", 0}}, {{"index", 1}}}}});
  const auto progress =
      scan_batch_output(kept + openai_error_line("b", {400, "no", "", "invalid_value"}).dump() + "\n");
  ASSERT_TRUE(progress.ok()) << progress.status().message();
  EXPECT_EQ(progress->kept, kept);
  EXPECT_TRUE(progress->complete("\"a\"", 2));
  EXPECT_FALSE(progress->complete("\"a\"", 3));
  EXPECT_FALSE(progress->complete("\"b\"", 1));
  EXPECT_FALSE(scan_batch_output("{\"id\":\"x\",\"custom_id\":\"y\",\"response\":3}\n").ok());
}

}  // namespace
}  // namespace octet
