// A prompt is encoded once for all that is asked about it.
#include <algorithm>

#include "tests/launcher/run_octet.h"

namespace octet::testing {
namespace {

class EncodeOnce : public ::testing::Test {
 protected:
  // How often a text with this word was encoded while the command ran.
  int64_t count(const std::string& word, const std::vector<std::string>& arguments, const std::string& input = "") {
    const std::filesystem::path texts = folder_ / "texts";
    std::filesystem::remove(texts);
    const Outcome outcome = run_octet(
        arguments,
        {.input = input, .environment = {{"LD_PRELOAD", OCTET_ENCODE_COUNTER}, {"OCTET_ENCODED", texts.string()}}});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return std::ranges::count_if(lines_of(read_file(texts)),
                                 [&word](const std::string& text) { return text.find(word) != std::string::npos; });
  }

  TempFolder folder_;
};

TEST_F(EncodeOnce, APromptOfGenerate) {
  EXPECT_EQ(count("plums", {"generate", "the plums", "--max-tokens", "2"}), 1);
  EXPECT_EQ(count("plums", {"generate", "the plums", "--temperature", "0", "--stop", "e"}), 1);  // a default to choose
  EXPECT_EQ(
      count("plums", {"generate", "--chat", "-", "--max-tokens", "2"}, R"([{"role": "user", "content": "plums"}])"), 1);
}

TEST_F(EncodeOnce, ALineOfABatch) {
  write_file(folder_ / "in",
             "{\"prompt\": \"the plums\", \"max_tokens\": 2}\n{\"prompt\": \"x\", \"max_tokens\": 2}\n");
  EXPECT_EQ(count("plums", {"generate", "--input", folder_ / "in", "--output", folder_ / "out"}), 1);
}

// The conversation so far is a prompt of every turn, and of each once.
TEST_F(EncodeOnce, ATurnOfAChat) {
  const std::vector<std::string> chat = {"chat", "--max-tokens", "4", "--temperature", "0"};
  EXPECT_EQ(count("plums", chat, "plums\n"), 1);
  EXPECT_EQ(count("plums", chat, "plums\npears\ncherries\n"), 3);
  EXPECT_EQ(count("pears", chat, "plums\npears\ncherries\n"), 2);
  EXPECT_EQ(count("cherries", chat, "plums\npears\ncherries\n"), 1);
}

}  // namespace
}  // namespace octet::testing
