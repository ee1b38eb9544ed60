#include "runtime/engine/batch_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

namespace octet {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

BatchLine parse(std::string_view line) { return parse_batch_line(line, 7, {}); }

TEST(BatchLine, TakesThreeKindsOfInput) {
  EXPECT_EQ(std::get<TextPrompt>(parse(R"({"prompt": "Hello"})").request->input).text, "Hello");
  EXPECT_THAT(std::get<std::vector<TokenId>>(parse(R"({"ids": [1, 22, 333]})").request->input),
              ElementsAre(1, 22, 333));
  const auto chat = parse(R"({"messages": [{"role": "user", "content": "Hi"}]})");
  EXPECT_THAT(std::get<Conversation>(chat.request->input).messages, ElementsAre(ChatMessage{"user", "Hi"}));
}

TEST(BatchLine, SaysHowItsInputIsMeant) {
  const auto text = parse(R"({"prompt": "<s>", "parse_special": true})");
  EXPECT_TRUE(std::get<TextPrompt>(text.request->input).parse_special);
  EXPECT_FALSE(std::get<TextPrompt>(parse(R"({"prompt": "<s>"})").request->input).parse_special);
  const auto chat = parse(R"({"continue_last": true, "messages": [{"role": "assistant", "content": "Hi"}]})");
  EXPECT_TRUE(std::get<Conversation>(chat.request->input).continue_last);
  for (const char* wrong : {R"({"prompt": "x", "parse_special": 1})", R"({"prompt": "x", "continue_last": true})",
                            R"({"ids": [1], "parse_special": false})", R"({"messages": [], "continue_last": "yes"})"}) {
    EXPECT_FALSE(parse(wrong).request.ok()) << wrong;
  }
}

TEST(BatchLine, TheIdIsGivenOrTheLinesNumber) {
  EXPECT_EQ(parse(R"({"prompt": "x"})").id, "7");
  EXPECT_EQ(parse(R"({"prompt": "x", "id": 12})").id, "12");
  EXPECT_EQ(parse(R"({"prompt": "x", "id": "a\"b"})").id, R"("a\"b")");
  const BatchLine bad = parse(R"({"id": "mine", "prompt": 3})");
  EXPECT_EQ(bad.id, "\"mine\"");
  EXPECT_FALSE(bad.request.ok());
}

TEST(BatchLine, SetsEverySamplingName) {
  const BatchLine line = parse(R"({"prompt": "x", "temperature": 0.5, "top_k": 3, "top_p": 0.9, "min_p": 0.1,
      "repetition_penalty": 1.1, "frequency_penalty": -0.5, "presence_penalty": 1, "logit_bias": {"5": 2.5, "17": -1},
      "seed": 18446744073709551615, "stop": ["a", "b"], "stop_token_ids": [4], "ignore_eos": true, "logprobs": 2,
      "num_samples": 3, "max_tokens": 20, "min_tokens": 4})");
  ASSERT_TRUE(line.request.ok()) << line.request.status().message();
  const GenerationParams& params = line.request->params;
  EXPECT_EQ(params.sampling.temperature, 0.5);
  EXPECT_EQ(params.sampling.top_k, 3);
  EXPECT_EQ(params.sampling.top_p, 0.9);
  EXPECT_EQ(params.sampling.min_p, 0.1);
  EXPECT_EQ(params.sampling.repetition_penalty, 1.1);
  EXPECT_EQ(params.sampling.frequency_penalty, -0.5);
  EXPECT_EQ(params.sampling.presence_penalty, 1.0);
  EXPECT_EQ(params.sampling.logit_bias, (std::map<TokenId, double>{{5, 2.5}, {17, -1.0}}));
  EXPECT_EQ(params.sampling.seed, UINT64_MAX);
  EXPECT_THAT(params.stop, ElementsAre("a", "b"));
  EXPECT_THAT(params.stop_token_ids, ElementsAre(4));
  EXPECT_TRUE(params.ignore_eos);
  EXPECT_EQ(params.logprobs, 2);
  EXPECT_EQ(params.num_samples, 3);
  EXPECT_EQ(params.max_tokens, 20);
  EXPECT_EQ(params.min_tokens, 4);
}

TEST(BatchLine, WhatIsNotSetComesFromTheDefaults) {
  GenerationParams defaults;
  defaults.max_tokens = 256;
  defaults.sampling.top_k = 40;
  defaults.stop = {"x", "y"};
  const BatchLine line = parse_batch_line(R"({"prompt": "x", "top_k": 2, "stop": "z"})", 1, defaults);
  EXPECT_EQ(line.request->params.max_tokens, 256);
  EXPECT_EQ(line.request->params.sampling.top_k, 2);
  EXPECT_THAT(line.request->params.stop, ElementsAre("z"));
}

TEST(BatchLine, NamesWhatIsWrong) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {R"({"prompt": "x", "temprature": 1})", "unknown key 'temprature'"},
      {R"({"prompt": "x", "two\nlines": 1})", "unknown key"},
      {R"({"prompt": "x", "ids": [1]})", "2 of"},
      {R"({"top_k": 1})", "0 of"},
      {R"({"prompt": 5})", "prompt is number"},
      {R"({"ids": 5})", "ids is number"},
      {R"({"ids": ["a"]})", "ids"},
      {R"({"ids": [-1]})", "-1"},
      {R"({"ids": [99999999999]})", "99999999999"},
      {R"({"messages": {}})", "array"},
      {R"({"prompt": "x", "id": [1]})", "id is array"},
      {R"({"prompt": "x", "top_k": 1.5})", "top_k is number, not an integer"},
      {R"({"prompt": "x", "top_k": 99999999999999999999})", "top_k"},
      {R"({"prompt": "x", "top_k": 18446744073709551615})", "top_k 18446744073709551615 is too large"},
      {R"({"prompt": "x", "temperature": "hot"})", "temperature is string, not a number"},
      {R"({"prompt": "x", "seed": -1})", "seed"},
      {R"({"prompt": "x", "ignore_eos": 1})", "ignore_eos is number"},
      {R"({"prompt": "x", "logit_bias": {"five": 1}})", "'five' is not a token id"},
      {R"({"prompt": "x", "logit_bias": {"5": "a"}})", "logit_bias is string"},
      {R"({"prompt": "x", "stop": [1]})", "stop is number"},
      {R"({"prompt": "x", "stop_token_ids": [5000000000]})", "5000000000 is not a token id"},
      {R"({"prompt": "x")", ""},
      {R"(["prompt"])", ""},
      {"nonsense", ""},
  };
  for (const auto& [text, message] : cases) {
    const BatchLine line = parse(text);
    ASSERT_FALSE(line.request.ok()) << text;
    EXPECT_EQ(line.id, "7");
    EXPECT_THAT(line.request.status().message(), HasSubstr(message)) << text;
    EXPECT_THAT(line.request.status().message(), Not(HasSubstr("\n")));
  }
}

TEST(Batch, BlankLinesCountAndRepeatedIdsAreBad) {
  const auto lines =
      parse_batch("{\"prompt\": \"a\"}\n\n  \r\n{\"prompt\": \"b\"}\r\n{\"id\": 4, \"prompt\": \"c\"}\nbad", {});
  ASSERT_EQ(lines.size(), 4U);
  EXPECT_EQ(lines[0].id, "1");
  EXPECT_EQ(lines[1].id, "4");
  EXPECT_TRUE(lines[1].request.ok());
  EXPECT_THAT(lines[2].request.status().message(), HasSubstr("id 4 was there before"));
  EXPECT_EQ(lines[3].id, "6");
  EXPECT_TRUE(parse_batch("", {}).empty());
}

TEST(Batch, ErrorLinesCarryTheIdAsItWasGiven) {
  EXPECT_EQ(batch_error_line("\"a\"", invalid_input("no \"good\"")), R"({"id":"a","error":"no \"good\""})");
  EXPECT_EQ(batch_error_line("12", invalid_input("bad \xff byte")), "{\"id\":12,\"error\":\"bad \xEF\xBF\xBD byte\"}");
}

TEST(BatchProgress, KeepsAnswersAndDropsErrorsAndATornLastLine) {
  const std::string answers = "{\"id\":1,\"text\":\"a\"}\n{\"id\":\"1\",\"index\":0,\"text\":\"b\"}\n";
  const auto progress =
      scan_batch_output(answers + "{\"id\":3,\"error\":\"x\"}\n" + "{\"id\":\"1\",\"index\":2}\n{\"id\":4,\"te");
  ASSERT_TRUE(progress.ok()) << progress.status().message();
  EXPECT_EQ(progress->kept, answers + "{\"id\":\"1\",\"index\":2}\n");
  EXPECT_TRUE(progress->complete("1", 1));
  EXPECT_TRUE(progress->complete("\"1\"", 1));
  EXPECT_FALSE(progress->complete("\"1\"", 2));
  EXPECT_FALSE(progress->complete("\"1\"", 3));
  EXPECT_TRUE(progress->answered.contains({"\"1\"", 2}));
  EXPECT_FALSE(progress->complete("3", 1));
  EXPECT_FALSE(progress->complete("4", 1));
}

TEST(BatchProgress, AnyCutOfAnOutputIsABeginningOfIt) {
  std::string whole;
  for (int id = 0; id < 5; ++id) whole += "{\"id\":" + std::to_string(id) + ",\"text\":\"caf\xC3\xA9\"}\n";
  for (size_t cut = 0; cut <= whole.size(); ++cut) {
    const auto progress = scan_batch_output(std::string_view(whole).substr(0, cut));
    ASSERT_TRUE(progress.ok()) << cut;
    EXPECT_EQ(progress->answered.size(),
              static_cast<size_t>(std::count(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(cut), '\n')));
    EXPECT_EQ(whole.substr(0, progress->kept.size()), progress->kept);
  }
}

TEST(BatchProgress, RefusesAFileOfAnotherKind) {
  for (const char* text : {"Dear diary", "Dear diary\n", "{\"name\": 1}\n", "{\"id\":[]}\n", "\n",
                           "{\"id\":1,\"index\":-1}\n", "{\"id\":1}\nnotes"}) {
    EXPECT_EQ(scan_batch_output(text).status().code(), StatusCode::kInvalidInput) << text;
  }
}

class BatchOutputTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ = std::filesystem::temp_directory_path() / ("octet_batch_" + std::to_string(getpid()) + ".jsonl");
    std::filesystem::remove(path_);
  }
  void TearDown() override { std::filesystem::remove(path_); }
  std::string content() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::filesystem::path path_;
};

TEST_F(BatchOutputTest, ASecondRunGoesOnWhereTheFirstStopped) {
  {
    auto output = BatchOutput::open(path_);
    ASSERT_TRUE(output.ok()) << output.status().message();
    EXPECT_TRUE(output->append(R"({"id":1,"text":"a"})").ok());
    EXPECT_TRUE(output->append(batch_error_line("2", failed("x"))).ok());
    EXPECT_EQ(content(), "{\"id\":1,\"text\":\"a\"}\n{\"id\":2,\"error\":\"x\"}\n");
  }
  std::ofstream(path_, std::ios::app) << "{\"id\":3,\"text\":\"tor";
  auto output = BatchOutput::open(path_);
  ASSERT_TRUE(output.ok()) << output.status().message();
  EXPECT_TRUE(output->progress().complete("1", 1));
  EXPECT_FALSE(output->progress().complete("2", 1));
  EXPECT_TRUE(output->append(R"({"id":2,"text":"b"})").ok());
  EXPECT_EQ(content(), "{\"id\":1,\"text\":\"a\"}\n{\"id\":2,\"text\":\"b\"}\n");
}

TEST_F(BatchOutputTest, AFileOfAnotherKindStaysAsItIs) {
  std::ofstream(path_) << "Dear diary\n";
  const auto output = BatchOutput::open(path_);
  EXPECT_EQ(output.status().code(), StatusCode::kInvalidInput);
  EXPECT_THAT(output.status().message(), HasSubstr(path_.string()));
  EXPECT_EQ(content(), "Dear diary\n");
  EXPECT_FALSE(BatchOutput::open("/no/such/folder/x.jsonl").ok());
}

}  // namespace
}  // namespace octet
