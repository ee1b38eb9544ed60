// Conversations: octet chat, generate --chat, tokenize --chat.
#include "tests/launcher/run_job.h"

namespace octet::testing {
namespace {

using nlohmann::json;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::string kMixtralTokenizer = kSourceDir / "tests/data/tokenizers/mixtral-8x7b.tokenizer.model";

json message(const char* role, const std::string& content) { return {{"role", role}, {"content", content}}; }

// The answer that generate gives to a conversation.
std::string answer_to(const json& messages, const std::vector<std::string>& flags) {
  std::vector<std::string> arguments = {"generate", "--chat", "-", "--json"};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  return json_of(arguments, {.input = messages.dump()})["text"];
}

const std::vector<std::string> kFlags = {"--temperature", "0", "--max-tokens", "24", "--stop", "\n"};

std::vector<std::string> chat(const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments = {"chat"};
  arguments.insert(arguments.end(), kFlags.begin(), kFlags.end());
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

TEST(TokenizeChat, IdsAreTheReferences) {
  for (const json& example : read_json(kGoldenDir / "chat_v1.json")) {
    const std::vector<std::string> arguments = {"tokenize", "--tokenizer", kMixtralTokenizer, "--chat", "-", "--json"};
    const Launch launch{.input = example["messages"].dump()};
    if (example.contains("ids")) {
      EXPECT_EQ(json_of(arguments, launch)["ids"], example["ids"]) << launch.input;
    } else {
      expect_refused(arguments, {}, launch);
    }
  }
}

TEST(TokenizeChat, SafePromptIsASystemText) {
  const json messages = json::array({message("user", "Hello")});
  const json safe = json::array({message("system",
                                         "Always assist with care, respect, and truth. Respond with utmost utility yet "
                                         "securely. Avoid harmful, unethical, prejudiced, or negative content. Ensure "
                                         "replies promote fairness and positivity."),
                                 message("user", "Hello")});
  EXPECT_EQ(output_of({"tokenize", "--chat", "-", "--safe-prompt"}, {.input = messages.dump()}),
            output_of({"tokenize", "--chat", "-"}, {.input = safe.dump()}));
}

TEST(GenerateChat, ALastMessageOfTheAssistantIsContinued) {
  const json begun = json::array({message("user", "Hello"), message("assistant", "In the")});
  const std::vector<std::string> flags = {"--temperature", "0", "--max-tokens", "6"};
  const Launch launch{.input = begun.dump()};
  const std::string ids = output_of({"tokenize", "--chat", "-", "--continue-last"}, launch);
  EXPECT_THAT(
      ids, StartsWith(lines_of(output_of({"tokenize", "--chat", "-"}, {.input = json::array({begun[0]}).dump()}))[0]));
  const TempFolder folder;
  write_file(folder / "ids", ids);
  // The same tokens as a prompt go on with the same text, and its leading space stays.
  const std::string text = answer_to(begun, flags + std::vector<std::string>{"--continue-last"});
  EXPECT_EQ(text, json_of(std::vector<std::string>{"generate", "--ids", folder / "ids", "--json"} + flags)["text"]);
  EXPECT_THAT(text, StartsWith(" "));
  expect_refused({"generate", "--chat", "-"}, {"the last message must be the user's", "--continue-last"}, launch);
  expect_refused({"generate", "x", "--continue-last"}, {"--continue-last"});
  expect_refused({"generate", "--chat", "-", "--continue-last"}, {"must be the assistant's"},
                 {.input = json::array({message("user", "a")}).dump()});
}

TEST(Chat, LineEndsOfOtherSystemsAreNoText) {
  EXPECT_EQ(output_of(chat(), {.input = "In the beginning\r\nAnd it came to pass\r\n"}),
            output_of(chat(), {.input = "In the beginning\nAnd it came to pass\n"}));
}

TEST(TokenizeChat, WithoutBos) {
  const Launch launch{.input = json::array({message("user", "Hello")}).dump()};
  EXPECT_EQ("1 " + output_of({"tokenize", "--chat", "-", "--no-bos"}, launch),
            output_of({"tokenize", "--chat", "-"}, launch));
}

TEST(ChatTemplates, AreChosenByNameOrFile) {
  const Launch launch{.input = json::array({message("user", "Hello")}).dump()};
  const std::string by_default = output_of({"tokenize", "--chat", "-"}, launch);
  EXPECT_EQ(output_of({"tokenize", "--chat", "-", "--chat-template", "mixtral-instruct-v1"}, launch), by_default);
  const TempFolder folder;
  write_file(
      folder / "plain.toml",
      "description = \"x\"\nbegin = [{ special = \"bos\" }]\nuser = [{ text = \"Q: {content}\" }]\n"
      "assistant = [{ text = \"A: {content}\" }, { special = \"eos\" }]\nanswer = []\nsystem_separator = \"\\n\"\n");
  EXPECT_EQ(output_of({"tokenize", "--chat", "-", "--chat-template", folder / "plain.toml"}, launch),
            output_of({"tokenize", "Q: Hello"}));
  expect_refused({"tokenize", "--chat", "-", "--chat-template", "mistral"}, {"mistral", "mixtral-instruct-v1"}, launch);
  expect_refused({"generate", "--chat", "-", "--chat-template", "chatml"}, {"chatml", "<|im_start|>"}, launch);
}

TEST(GenerateChat, AnswersTheTemplatesPrompt) {
  const json messages = json::array({message("system", "Be kind"), message("user", "The LORD is my shepherd")});
  const std::string ids = output_of({"tokenize", "--chat", "-", "--json"}, {.input = messages.dump()});
  const json by_ids = json_of({"generate", "--ids", "-", "--temperature", "0", "--max-tokens", "24", "--json"},
                              {.input = json::parse(ids)["ids"].dump()});
  const json by_chat = json_of({"generate", "--chat", "-", "--temperature", "0", "--max-tokens", "24", "--json"},
                               {.input = messages.dump()});
  EXPECT_EQ(by_chat["token_ids"], by_ids["token_ids"]);
  std::string text = by_ids["text"];
  if (text.starts_with(' ')) text.erase(0, 1);  // an answer loses one leading space
  EXPECT_EQ(by_chat["text"], text);
}

TEST(GenerateChat, BadConversationsAreRefused) {
  for (
      const auto& [text, part] : std::vector<std::pair<std::string, std::string>>{
          {"{}", "array"},
          {"[", "JSON"},
          {"[]", "no messages"},
          {R"([{"role": "tool", "content": "x"}])", "tool"},
          {R"([{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}])", "last"},
          {R"([{"role": "user", "content": "x"}, {"role": "assistant", "content": ""}, {"role": "user", "content": "z"}])",
           "empty"}}) {
    expect_refused({"generate", "--chat", "-"}, {part}, {.input = text});
  }
}

// A script's answers are blocks with a blank line between two.
TEST(Chat, EveryAnswerFollowsFromTheWholeConversation) {
  json messages = json::array();
  std::string expected, input;
  for (const char* line : {"In the beginning", "And it came to pass", "static int sqlite3"}) {
    messages.push_back(message("user", line));
    const std::string answer = answer_to(messages, kFlags);
    ASSERT_FALSE(answer.empty());
    messages.push_back(message("assistant", answer));
    expected += (expected.empty() ? "" : "\n") + answer + "\n";
    input += std::string(line) + "\n\n";  // blank lines are not messages
  }
  EXPECT_EQ(output_of(chat(), {.input = input}), expected);
}

TEST(Chat, SystemTextAndSafePromptComeFirst) {
  const json messages = json::array({message("system", "Speak of kings"), message("user", "Hello")});
  auto flags = kFlags;
  flags.push_back("--safe-prompt");
  EXPECT_EQ(output_of(chat({"--system", "Speak of kings", "--safe-prompt"}), {.input = "Hello\n"}),
            answer_to(messages, flags) + "\n");
}

TEST(Chat, OldMessagesLeaveASmallContext) {
  std::string input;
  for (int i = 0; i < 20; ++i) input += "And it came to pass, when the king heard the words of the prophet\n";
  const Outcome outcome = run_octet(chat({"--max-context", "192"}), {.input = input});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto lines = lines_of(outcome.out);
  EXPECT_EQ(lines.size(), 20U + 19U);
  EXPECT_EQ(std::ranges::count(lines, ""), 19);
  EXPECT_THAT(outcome.err, HasSubstr("oldest"));
}

TEST(Chat, EndsWithItsInput) { EXPECT_EQ(output_of(chat(), {.input = ""}), ""); }

TEST(Chat, AnInterruptedScriptEndsWith130) {
  RunningOctet octet({"chat", "--temperature", "0", "--ignore-eos"}, {.hold_input_open = true});
  octet.type("The LORD is my shepherd\n");
  octet.read_until(" ");
  octet.send(SIGINT);
  EXPECT_EQ(octet.wait().exit_code, 130);
}

TEST(ChatAtATerminal, CtrlCStopsTheAnswerAndCtrlDEndsTheChat) {
  RunningOctet octet({"chat", "--temperature", "0", "--ignore-eos"}, {.terminal = true});
  octet.await_error("> ");
  octet.type("The LORD is my shepherd\n");
  octet.read_until(" ");
  octet.type("\x03");
  const std::string first = octet.read_until("\n");
  octet.type("\x04");
  const Outcome outcome = octet.wait();
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.out, StartsWith(first));
  EXPECT_THAT(outcome.out, EndsWith("\n"));
  EXPECT_LT(outcome.out.size(), 20000U) << "the answer went on to the end of the context";
}

TEST(ChatAtATerminal, CtrlCAtThePromptEndsTheChat) {
  RunningOctet octet(chat(), {.terminal = true});
  octet.await_error("> ");
  ::usleep(100'000);  // from the prompt to the read behind it
  octet.type("\x03");
  const Outcome outcome = octet.wait();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "");
}

TEST(Chat, WhatCannotWorkIsRefusedBeforeTheFirstMessage) {
  expect_refused(chat({"--model", kGoldenDir / "plain-f32"}), {"tokenizer.model"}, {.input = "Hello\n"});
  expect_refused(chat({"--num-samples", "2"}), {"--num-samples"}, {.input = "Hello\n"});
  expect_refused(chat({"--chat-template", "none"}), {"none"}, {.input = "Hello\n"});
}

}  // namespace
}  // namespace octet::testing
