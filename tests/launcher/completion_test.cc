// octet completion: the script, as bash runs it.
#include <cstdio>

#include "tests/launcher/run_octet.h"

namespace octet::testing {
namespace {

using ::testing::ElementsAre;

// What bash offers for the last word of a command line.
std::vector<std::string> completions(const std::vector<std::string>& words) {
  const TempFolder folder;
  write_file(folder / "script", output_of({"completion", "bash"}));
  std::string command = "source " + (folder / "script").string() + "; COMP_WORDS=(octet";
  for (const std::string& word : words) command += " '" + word + "'";
  command += "); COMP_CWORD=" + std::to_string(words.size()) + "; _octet; printf '%s\\n' \"${COMPREPLY[@]}\"";
  write_file(folder / "run", command);
  FILE* pipe = ::popen(("bash " + (folder / "run").string()).c_str(), "r");
  std::string out;
  for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) out += static_cast<char>(c);
  EXPECT_EQ(::pclose(pipe), 0);
  return lines_of(out);
}

TEST(Completion, OffersCommandsAndFlags) {
  EXPECT_THAT(completions({"gen"}), ElementsAre("generate"));
  EXPECT_THAT(completions({"bench", "make"}), ElementsAre("make-model"));
  EXPECT_THAT(completions({"generate", "--max-t"}), ElementsAre("--max-tokens"));
  EXPECT_THAT(completions({"bench", "generate", "--streams", "1", "--prompt"}), ElementsAre("--prompt-tokens"));
  EXPECT_THAT(completions({"tokenize", "--positions"}), ElementsAre("")) << "a flag of another command";
  EXPECT_THAT(completions({"inspect", "/some/fi"}), ElementsAre("")) << "bash then offers files";
  expect_refused({"completion", "csh"}, {"csh", "bash"});
}

}  // namespace
}  // namespace octet::testing
