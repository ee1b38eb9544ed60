// octet generate --input --output.
#include <map>

#include "tests/launcher/run_octet.h"

namespace octet::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

class Batch : public ::testing::Test {
 protected:
  TempFolder folder_;
  const std::string input_ = folder_ / "in.jsonl";
  const std::string output_ = folder_ / "out.jsonl";

  Outcome run(const std::vector<std::string>& flags = {}) const {
    std::vector<std::string> arguments = {"generate", "--input",     input_,          "--output", output_,
                                          "--seed",   "3",           "--temperature", "0",        "--max-tokens",
                                          "12",       "--log-level", "error"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    return run_octet(arguments);
  }
  // The answers by id (and index), each of which is there once.
  std::map<std::string, json> answers() const {
    std::map<std::string, json> answers;
    for (const std::string& line : lines_of(read_file(output_))) {
      const json object = json::parse(line);
      const std::string key = object["id"].dump() + (object.contains("index") ? object["index"].dump() : "");
      EXPECT_TRUE(answers.emplace(key, object).second) << line;
    }
    return answers;
  }
  static json openai_line(const std::string& id, const std::string& url, const json& body) {
    return {{"custom_id", id}, {"method", "POST"}, {"url", url}, {"body", body}};
  }
  void write_lines(const std::vector<json>& lines) const {
    std::string text;
    for (const json& line : lines) text += line.dump() + "\n";
    write_file(input_, text);
  }
};

TEST_F(Batch, AnswersAreThoseOfTheRequestsAlone) {
  const json prompts = read_json(kGoldenDir / "octet-demo/prompts.json")["prompts"];
  std::vector<json> lines;
  for (const json& prompt : prompts) {
    lines.push_back({{"prompt", prompt["text"]}, {"max_tokens", prompt["greedy"].size()}});
    lines.push_back({{"id", "ids of " + prompt["text"].get<std::string>()},
                     {"ids", prompt["ids"]},
                     {"max_tokens", prompt["greedy"].size()}});
  }
  lines.push_back({{"id", 77}, {"prompt", "The LORD"}, {"temperature", 1}, {"seed", 9}});
  lines.push_back({{"id", "chat"}, {"messages", {{{"role", "user"}, {"content", "Hello"}}}}});
  write_lines(lines);
  const Outcome outcome = run({"--max-batch", "5"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  const auto answers = this->answers();
  ASSERT_EQ(answers.size(), lines.size());
  for (size_t i = 0; i < prompts.size(); ++i) {
    const json& prompt = prompts[i];
    for (const std::string& id :
         {std::to_string(2 * i + 1), json("ids of " + prompt["text"].get<std::string>()).dump()}) {
      ASSERT_TRUE(answers.contains(id)) << id;
      EXPECT_EQ(answers.at(id)["token_ids"], prompt["greedy"]) << id;
      EXPECT_EQ(answers.at(id)["finish_reason"], "length");
    }
  }
  const json sampled =
      json_of({"generate", "The LORD", "--temperature", "1", "--seed", "9", "--max-tokens", "12", "--json"});
  EXPECT_EQ(answers.at("77")["text"], sampled["text"]);
  const json answer = json_of({"generate", "--chat", "-", "--temperature", "0", "--max-tokens", "12", "--json"},
                              {.input = R"([{"role": "user", "content": "Hello"}])"});
  EXPECT_EQ(answers.at("\"chat\"")["text"], answer["text"]);
}

TEST_F(Batch, ABadLineIsAnErrorLineAndTheRestGoesOn) {
  write_file(
      input_,
      "{\"prompt\": \"In the\"}\n{\"prompt\": \"x\", \"temprature\": 1}\nnonsense\n\n{\"id\": \"long\", \"prompt\": "
      "\"y\", \"max_tokens\": 99999}\n{\"id\": 1, \"prompt\": \"twice\"}\n{\"prompt\": \"the end\"}\n");
  const Outcome outcome = run();
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(lines_of(outcome.err), ::testing::ElementsAre(HasSubstr("4 of 6")));
  std::map<std::string, std::string> errors;
  size_t num_answers = 0;
  for (const std::string& line : lines_of(read_file(output_))) {
    const json object = json::parse(line);
    if (object.contains("error")) {
      errors[object["id"].dump()] += object["error"].get<std::string>();
    } else {
      ++num_answers;
    }
  }
  EXPECT_EQ(num_answers, 2U);
  EXPECT_THAT(errors["2"], HasSubstr("temprature"));
  EXPECT_TRUE(errors.contains("3"));
  EXPECT_THAT(errors["\"long\""], HasSubstr("99999"));
  EXPECT_THAT(errors["1"], HasSubstr("before"));
}

TEST_F(Batch, ASecondRunDoesOnlyWhatIsLeft) {
  write_lines({{{"prompt", "In the"}}, {{"prompt", "And"}, {"top_k", -1}}, {{"prompt", "The"}}});
  EXPECT_EQ(run().exit_code, 1);
  const std::string written = read_file(output_);
  write_lines({{{"prompt", "In the"}}, {{"prompt", "And"}}, {{"prompt", "The"}}});
  write_file(output_, "{\"id\":1,\"text\":\"as it was\"}\n{\"id\":2,\"error\":\"x\"}\n{\"id\":3,\"tex");
  EXPECT_EQ(run().exit_code, 0);
  const auto answers = this->answers();
  ASSERT_EQ(answers.size(), 3U);
  EXPECT_EQ(answers.at("1")["text"], "as it was");
  for (const char* id : {"2", "3"}) EXPECT_EQ(answers.at(id)["token_ids"].size(), 12U);
  EXPECT_THAT(written, HasSubstr("\"text\":" + answers.at("3")["text"].dump()));
  EXPECT_EQ(run().exit_code, 0);
  EXPECT_EQ(this->answers(), answers) << "nothing is left to do";
}

TEST_F(Batch, AnInterruptedRunIsCompletedByTheNext) {
  std::vector<json> lines;
  for (int i = 0; i < 400; ++i) {
    lines.push_back({{"id", i}, {"prompt", "Chapter " + std::to_string(i)}, {"max_tokens", 20 + i % 7}});
  }
  write_lines(lines);
  EXPECT_EQ(run({"--ignore-eos"}).exit_code, 0);
  const auto expected = this->answers();
  int code = 0;
  for (int attempt = 0; attempt < 5 && code == 0; ++attempt) {  // it may end before our signal comes
    std::filesystem::remove(output_);
    RunningOctet octet({"generate", "--input", input_, "--output", output_, "--temperature", "0", "--ignore-eos"});
    for (int i = 0; i < 30'000 && (!std::filesystem::exists(output_) || read_file(output_).size() < 3000); ++i)
      ::usleep(2000);
    octet.send(SIGINT);
    code = octet.wait().exit_code;
  }
  EXPECT_EQ(code, 130);
  const size_t num_first = this->answers().size();
  EXPECT_GT(num_first, 0U);
  EXPECT_LT(num_first, lines.size());
  EXPECT_EQ(run({"--ignore-eos"}).exit_code, 0);
  const auto answers = this->answers();
  ASSERT_EQ(answers.size(), expected.size());
  for (const auto& [id, answer] : expected) EXPECT_EQ(answers.at(id)["token_ids"], answer["token_ids"]) << id;
}

TEST_F(Batch, AnswersComeAsTheyAreReady) {
  write_lines(
      {{{"prompt", "In the"}, {"max_tokens", 200}, {"ignore_eos", true}}, {{"prompt", "And"}, {"max_tokens", 1}}});
  EXPECT_EQ(run().exit_code, 0);
  const auto lines = lines_of(read_file(output_));
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(json::parse(lines[0])["id"], 2);
  EXPECT_EQ(json::parse(lines[1])["id"], 1);
}

TEST_F(Batch, SamplesAreNumbered) {
  write_lines({{{"id", "s"}, {"prompt", "In the"}, {"num_samples", 3}, {"temperature", 1}}});
  EXPECT_EQ(run().exit_code, 0);
  const auto answers = this->answers();
  ASSERT_EQ(answers.size(), 3U);
  for (const char* key : {"\"s\"0", "\"s\"1", "\"s\"2"}) EXPECT_TRUE(answers.contains(key)) << key;
}

TEST_F(Batch, WithoutATokenizerIdsWork) {
  const json prompt = read_json(kGoldenDir / "plain-f32/prompts.json")["prompts"][0];
  write_lines(
      {{{"ids", prompt["ids"]}, {"ignore_eos", true}, {"max_tokens", prompt["greedy"].size()}}, {{"prompt", "x"}}});
  EXPECT_EQ(run({"--model", kGoldenDir / "plain-f32"}).exit_code, 1);
  const auto answers = this->answers();
  EXPECT_EQ(answers.at("1")["token_ids"], prompt["greedy"]);
  EXPECT_TRUE(answers.at("1")["text"].is_null());
  EXPECT_THAT(answers.at("2")["error"].get<std::string>(), HasSubstr("tokenizer.model"));
}

TEST_F(Batch, FilesThatAreNoBatchAreRefusedAndLeftAlone) {
  write_lines({{{"prompt", "x"}}});
  write_file(folder_ / "letter.txt", "Dear reader,\nhello\n");
  expect_refused({"generate", "--input", input_, "--output", folder_ / "letter.txt"}, {"letter.txt"});
  EXPECT_EQ(read_file(folder_ / "letter.txt"), "Dear reader,\nhello\n");
  expect_refused({"generate", "--input", input_}, {"--output"});
  expect_refused({"generate", "x", "--output", output_}, {"--input"});
  expect_refused({"generate", "--input", folder_ / "none", "--output", output_}, {"none"});
  expect_refused({"generate", "--input", input_, "--output", "/nowhere/out"}, {"/nowhere/out"});
}

TEST_F(Batch, LinesOfOpenAiAreAnsweredInTheirOwnForm) {
  const json messages = {{{"role", "user"}, {"content", "Hello"}}};
  write_lines({openai_line("chat", "/v1/chat/completions",
                           {{"model", "octet-demo"}, {"messages", messages}, {"max_tokens", 6}, {"n", 2}}),
               openai_line("text", "/v1/completions", {{"prompt", "In the beginning"}, {"max_tokens", 6}}),
               openai_line("model", "/v1/completions", {{"model", "gpt-4"}, {"prompt", "x"}}),
               openai_line("long", "/v1/completions", {{"prompt", "x"}, {"max_tokens", 100000}}),
               openai_line("bound", "/v1/completions", {{"prompt", "x"}, {"temperature", 9}}),
               {{"id", "plain"}, {"prompt", "In the beginning"}, {"max_tokens", 6}}});
  EXPECT_EQ(run().exit_code, 1);
  std::map<std::string, json> responses;
  std::string plain;
  for (const std::string& line : lines_of(read_file(output_))) {
    const json object = json::parse(line);
    if (object.contains("custom_id")) {
      EXPECT_EQ(object["error"], nullptr);
      responses[object["custom_id"]] = object["response"];
    } else {
      plain = object["text"];
    }
  }
  ASSERT_EQ(responses.size(), 5U);
  const json chat = responses["chat"]["body"];
  EXPECT_EQ(responses["chat"]["status_code"], 200);
  EXPECT_EQ(chat["object"], "chat.completion");
  EXPECT_EQ(chat["choices"].size(), 2U);
  EXPECT_EQ(chat["choices"][1]["message"]["role"], "assistant");
  EXPECT_EQ(chat["usage"]["completion_tokens"], 12);
  const json text = responses["text"]["body"];
  EXPECT_EQ(text["object"], "text_completion");
  EXPECT_EQ(text["model"], "octet-demo");
  EXPECT_EQ(text["choices"][0]["text"], plain);
  EXPECT_EQ(text["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(responses["model"]["status_code"], 404);
  EXPECT_EQ(responses["model"]["body"]["error"]["code"], "model_not_found");
  EXPECT_EQ(responses["long"]["body"]["error"]["code"], "context_length_exceeded");
  EXPECT_EQ(responses["bound"]["status_code"], 400);
  EXPECT_EQ(responses["bound"]["body"]["error"]["type"], "invalid_request_error");
  EXPECT_EQ(responses["bound"]["body"]["error"]["param"], "temperature");
  const std::string before = read_file(output_);
  EXPECT_EQ(run().exit_code, 1);  // the bad lines are tried again, the others are not
  EXPECT_EQ(lines_of(read_file(output_)).size(), lines_of(before).size());
}

}  // namespace
}  // namespace octet::testing
