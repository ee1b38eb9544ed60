// Files that people name: folders where files are expected, outputs that are no files, disks that are full or slow.
#include <sys/stat.h>
#include <sys/syscall.h>

#include <thread>

#include "tests/launcher/run_octet.h"

namespace octet::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

// Runs the program with the words of a shell around it: "$@" is the program and its arguments.
Launch in_shell(const std::string& script) { return {.wrapper = {"bash", "-c", script, "bash"}}; }

class Files : public ::testing::Test {
 protected:
  void write_requests(int count, int max_tokens = 8) const {
    std::string text;
    for (int i = 0; i < count; ++i) {
      const json line{{"id", i}, {"prompt", "Chapter " + std::to_string(i)}, {"max_tokens", max_tokens}};
      text += line.dump() + "\n";
    }
    write_file(input_, text);
  }
  std::vector<std::string> batch(const std::string& output) const {
    return {"generate", "--input", input_, "--output", output, "--temperature", "0", "--seed", "1", "--ignore-eos"};
  }

  const TempFolder folder_;
  const std::string input_ = folder_ / "in.jsonl";
};

TEST_F(Files, AFolderIsNoFile) {
  const std::string folder = folder_.path();
  write_requests(1);
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {"generate", "--file", folder},
           {"generate", "--chat", folder},
           {"generate", "--ids", folder},
           {"generate", "--input", folder, "--output", folder_ / "out"},
           {"generate", "--input", input_, "--output", folder},
           {"generate", "x", "--config", folder},
           {"chat", "--chat-template", folder + "/"},
           {"generate", "x", "--model", kDemoModel / "config.json"},
           {"tokenize", "--file", folder},
           {"tokenize", "--chat", folder},
           {"tokenize", "x", "--tokenizer", folder},
           {"detokenize", "--file", folder},
           {"perplexity", folder},
           {"logits", "--file", folder, "--out", folder_ / "out"},
           {"logits", "--ids", folder, "--out", folder_ / "out"},
           {"logits", "x", "--out", folder},
           {"plan", "--cluster", folder},
           {"run", "--cluster", folder, "--", "generate", "x"},
           {"run", "--ranks", "2", "--hostfile", folder, "--", "generate", "x"},
           {"serve", "--api-key-file", folder},
           {"serve", "--tls-cert", folder, "--tls-key", folder},
           {"generate", "x", "--server", "127.0.0.1:1", "--api-key-file", folder},
           {"bench", "roofline", "--device-file", folder},
       }) {
    const Outcome outcome = run_octet(arguments);
    SCOPED_TRACE(json(arguments).dump());
    EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
    EXPECT_EQ(lines_of(outcome.err).size(), 1U) << outcome.err;
  }
  for (const char* flag : {"--file", "--chat", "--ids"}) {
    expect_refused({"generate", flag, folder}, {folder + ": Is a directory"});
  }
  expect_refused({"generate", "x", "--config", folder}, {folder + ": Is a directory"});
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out"));
}

TEST_F(Files, AFolderIsNoStandardInput) {
  const Launch from_folder = in_shell("exec \"$@\" < " + folder_.path().string());
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"generate", "-"},
                                             {"generate"},
                                             {"generate", "--ids", "-"},
                                             {"tokenize", "-"},
                                             {"detokenize", "-"},
                                             {"perplexity", "-"},
                                             {"chat"},
                                             {"logits", "-", "--out", folder_ / "out"}}) {
    expect_refused(arguments, {"standard input: Is a directory"}, from_folder);
  }
}

TEST_F(Files, AProcesssOutputIsAFile) {
  EXPECT_EQ(run_octet({"tokenize", "--file", "/dev/fd/3"}, in_shell("exec \"$@\" 3< <(printf 'In the beginning')")).out,
            output_of({"tokenize", "In the beginning"}));
}

TEST_F(Files, FoldersThatMayNotBeReadAreNoCrash) {
  if (::geteuid() == 0) {  // to whom nothing is forbidden: another user's eyes
    const Outcome outcome = run_octet({"inspect", "/root/octet-none"}, in_shell("exec setpriv --reuid 65534 \"$@\""));
    EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
    return;
  }
  std::filesystem::create_directory(folder_ / "closed");
  std::filesystem::permissions(folder_ / "closed", std::filesystem::perms::none);
  EXPECT_EQ(run_octet({"generate", "x", "--model", folder_ / "closed"}).exit_code, 2);
}

std::vector<std::string> sorted_lines(const std::string& text) {
  auto lines = lines_of(text);
  std::erase_if(lines, [](const std::string& line) { return line.empty(); });
  for (std::string& line : lines) {
    json object = json::parse(line);
    object.erase("timings");
    line = object.dump();
  }
  std::ranges::sort(lines);
  return lines;
}

TEST_F(Files, AnOutputThatIsNoFileIsWrittenThrough) {
  write_requests(3);
  ASSERT_EQ(run_octet(batch(folder_ / "out")).exit_code, 0);
  const auto expected = sorted_lines(read_file(folder_ / "out"));
  ASSERT_EQ(expected.size(), 3U);
  for (const char* output : {"-", "/dev/stdout", "/proc/self/fd/1"}) {
    const Outcome outcome = run_octet(batch(output), {.folder = folder_.path()});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_EQ(sorted_lines(outcome.out), expected) << output;
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ / "-"));
  EXPECT_EQ(run_octet(batch("/dev/null")).exit_code, 0);
}

TEST_F(Files, LogitsGoWhereTheyAreTold) {
  ASSERT_EQ(run_octet({"logits", "In the beginning", "--out", folder_ / "out"}).exit_code, 0);
  const std::string expected = read_file(folder_ / "out");
  for (const char* output : {"-", "/dev/stdout"}) {
    EXPECT_TRUE(output_of({"logits", "In the beginning", "--out", output}) == expected) << output;
  }
}

// A reader who is slow, and one who leaves.
TEST_F(Files, ASlowPipeGetsEveryAnswer) {
  write_requests(40);
  const std::string pipe = folder_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  std::string text;
  std::thread reader([&] {
    std::ifstream file(pipe, std::ios::binary);
    for (char c = 0; file.get(c); text += c) {
      if (text.size() % 512 == 0) ::usleep(2000);
    }
  });
  const Outcome outcome = run_octet(batch(pipe));
  reader.join();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(sorted_lines(text).size(), 40U);
}

TEST_F(Files, APipeWhoseReaderLeavesIsAFailure) {
  write_requests(400);
  const std::string pipe = folder_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  std::thread reader([&] {
    std::ifstream file(pipe, std::ios::binary);
    std::string line;
    std::getline(file, line);
  });
  const Outcome outcome = run_octet(batch(pipe));
  reader.join();
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr(pipe + ": cannot be written: Broken pipe"));
}

TEST_F(Files, APipeThatNobodyOpensCanBeInterrupted) {
  write_requests(1);
  const std::string pipe = folder_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  RunningOctet octet(batch(pipe));
  // Until it is in the call that waits for a reader: nobody sees, while it waits, a signal that came before.
  const std::string call = "/proc/" + std::to_string(octet.pid()) + "/syscall";
  const std::string opening = std::to_string(SYS_openat) + " ";
  std::string before;
  for (int i = 0, same = 0; i < 6000 && same < 20 && !octet.has_ended(); ++i) {
    const std::string now = read_file(call);
    same = now == before && now.starts_with(opening) ? same + 1 : 0;
    before = now;
    ::usleep(10'000);
  }
  octet.send(SIGINT);
  EXPECT_EQ(octet.wait().exit_code, 130);
}

TEST_F(Files, APlantedLinkIsNotWrittenThrough) {
  write_file(folder_ / "treasure", "gold");
  const std::string torn = "{\"id\":7,\"text\":\"kept\"}\n{\"id\":8,\"te";
  write_requests(1);
  write_file(folder_ / "out", torn);  // so that the file is written anew
  for (const char* name : {"out.partial", "out.tmp", "logits.partial"}) {
    std::filesystem::create_symlink(folder_ / "treasure", folder_ / name);
  }
  const Outcome outcome = run_octet(batch(folder_ / "out"));
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("out.partial: a symbolic link is there"));
  EXPECT_EQ(run_octet({"logits", "x", "--out", folder_ / "logits"}).exit_code, 1);
  EXPECT_EQ(read_file(folder_ / "treasure"), "gold");
  EXPECT_EQ(read_file(folder_ / "out"), torn);
}

TEST_F(Files, ASecondRunOnTheSameOutputIsRefused) {
  write_requests(2, 3000);
  RunningOctet first(batch(folder_ / "out"));
  for (int i = 0; i < 6000 && !std::filesystem::exists(folder_ / "out") && !first.has_ended(); ++i) ::usleep(10'000);
  ::usleep(200'000);  // from the file's beginning to its lock
  const Outcome second = run_octet(batch(folder_ / "out"));
  ASSERT_FALSE(first.has_ended()) << "it was over before the second began: this shows nothing";
  EXPECT_EQ(second.exit_code, 1);
  EXPECT_THAT(second.err, HasSubstr("another process writes it"));
  first.send(SIGINT);
  EXPECT_EQ(first.wait().exit_code, 130);
  EXPECT_EQ(sorted_lines(read_file(folder_ / "out")).size(), 0U);
}

TEST_F(Files, ALimitOfTheirSizeIsAFailureThatLosesNothing) {
  write_requests(200);
  const Outcome outcome = run_octet(batch(folder_ / "out"), in_shell("ulimit -f 8; exec \"$@\""));
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("out: cannot be written: File too large"));
  const std::string written = read_file(folder_ / "out");
  EXPECT_TRUE(written.ends_with("\n")) << "a torn line was left";
  const size_t num_written = sorted_lines(written).size();
  EXPECT_GT(num_written, 0U);
  EXPECT_EQ(run_octet(batch(folder_ / "out")).exit_code, 0);
  EXPECT_EQ(sorted_lines(read_file(folder_ / "out")).size(), 200U);
  EXPECT_TRUE(read_file(folder_ / "out").starts_with(written)) << "what was there stays";
}

// On a disk of so many KiB of its own; then the shell says what is there.
Outcome run_on_small_disk(const std::vector<std::string>& arguments, const std::string& disk, int kilobytes) {
  const std::string script = "mount -t tmpfs -o size=" + std::to_string(kilobytes) + "k tmpfs " + disk +
                             " || exit 77; printf before > " + disk + "/logits; \"$@\"; code=$?; cd " + disk +
                             "; for f in *; do echo \"$f\"; cat \"$f\"; done; exit $code";
  return run_octet(arguments, {.wrapper = {"unshare", "-rm", "bash", "-c", script, "bash"}});
}

bool has_small_disks(const std::string& disk) {
  const std::string command = "unshare -rm mount -t tmpfs -o size=16k tmpfs " + disk + " 2>/dev/null";
  return std::system(command.c_str()) == 0;
}

TEST_F(Files, AFullDiskIsAFailureThatLosesNothing) {
  const std::string disk = folder_ / "disk";
  std::filesystem::create_directory(disk);
  if (!has_small_disks(disk)) GTEST_SKIP() << "this machine lets nobody mount a disk of his own (unshare -rm)";
  write_requests(200);
  const Outcome batch_run = run_on_small_disk(batch(disk + "/out"), disk, 16);
  EXPECT_EQ(batch_run.exit_code, 1) << batch_run.err;
  EXPECT_THAT(batch_run.err, HasSubstr("out: cannot be written: No space left on device"));
  const size_t answers = batch_run.out.find("out\n{");
  ASSERT_NE(answers, std::string::npos) << batch_run.out;
  const std::string written = batch_run.out.substr(answers + 4);
  EXPECT_GT(sorted_lines(written).size(), 0U);
  EXPECT_TRUE(written.ends_with("\n")) << "a torn line was left";

  std::string prompt;
  for (int i = 0; i < 40; ++i) prompt += "And it came to pass ";
  const Outcome logits = run_on_small_disk({"logits", prompt, "--out", disk + "/logits"}, disk, 64);
  EXPECT_EQ(logits.exit_code, 1);
  EXPECT_THAT(logits.err, HasSubstr("No space left on device"));
  EXPECT_EQ(logits.out, "logits\nbefore") << "the file of before is there, and nothing beside it";
}

}  // namespace
}  // namespace octet::testing
