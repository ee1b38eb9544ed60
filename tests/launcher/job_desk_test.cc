// How ranks report to octet run: the messages, the desk that takes them, and jobs whose ranks write whatever they like.
#include "launcher/job/job_desk.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <thread>

#include "launcher/job/child_process.h"
#include "tests/launcher/run_job.h"

namespace octet {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Bytes = std::vector<std::byte>;

Bytes joined(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(JobMessage, ComesBackFromItsBytesWhateverThePieces) {
  const RankHello hello{"secret", LineKind::kLog, 7, "b"};
  const RankReport stage{RankStage::kOpening, ""}, verdict{std::nullopt, "rank 1 (host b) died: x"};
  const Bytes all = joined(pack_rank_report(stage), pack_rank_report(verdict));
  Bytes unread;
  std::vector<RankReport> reports;
  for (const std::byte byte : all) {
    unread.push_back(byte);
    const auto report = take_rank_report(unread);
    ASSERT_TRUE(report.ok());
    if (*report) reports.push_back(**report);
  }
  ASSERT_EQ(reports.size(), 2U);
  EXPECT_EQ(reports[0].stage, RankStage::kOpening);
  EXPECT_EQ(reports[1].stage, std::nullopt);
  EXPECT_EQ(reports[1].verdict, verdict.verdict);
  Bytes bytes = pack_rank_hello(hello);
  const auto taken = take_rank_hello(bytes);
  ASSERT_TRUE(taken.ok() && *taken);
  EXPECT_EQ((*taken)->secret + (*taken)->host, "secretb");
  EXPECT_EQ((*taken)->kind, LineKind::kLog);
  EXPECT_EQ((*taken)->rank, 7);
  EXPECT_THAT(bytes, IsEmpty());
}

TEST(JobMessage, NonsenseIsAnErrorAndNoMore) {
  const Bytes good = pack_rank_hello({"secret", LineKind::kReports, 1, "host"});
  for (size_t at = 0; at < good.size(); ++at) {
    for (const int value : {0x00, 0x7f, 0xff}) {
      Bytes bad = good;
      bad[at] = static_cast<std::byte>(value);
      (void)take_rank_hello(bad);
      bad = good;
      bad[at] = static_cast<std::byte>(value);
      (void)take_rank_report(bad);
    }
  }
  Bytes huge(4, std::byte{0x7f});
  EXPECT_FALSE(take_rank_hello(huge).ok());
  EXPECT_FALSE(take_rank_report(huge).ok());
}

TEST(JobInvitation, ComesBackFromItsText) {
  for (const JobInvitation& invitation :
       {JobInvitation{.secret = "s", .socket = "name", .loopback = {}, .addresses = {}},
        JobInvitation{.secret = "s", .socket = {}, .port = 4711, .loopback = "id 12", .addresses = {"10.0.0.1", "::1"}},
        JobInvitation{.secret = "s", .socket = {}, .port = 1, .loopback = "", .addresses = {"a"}}}) {
    const auto parsed = parse_invitation(invitation_text(invitation));
    ASSERT_TRUE(parsed.ok()) << parsed.status().message();
    EXPECT_EQ(invitation_text(*parsed), invitation_text(invitation));
    EXPECT_EQ(parsed->addresses, invitation.addresses);
    EXPECT_EQ(parsed->loopback, invitation.loopback);
  }
  for (const char* text : {"", "s", "s unix", "s tcp", "s tcp x y", "s udp 1 a"}) {
    EXPECT_FALSE(parse_invitation(text).ok()) << text;
  }
}

// A desk on one host, and those who call it.
class JobDeskTest : public ::testing::Test {
 protected:
  UniqueFd call() const {
    UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string& name = invitation_.socket;
    std::memcpy(address.sun_path + 1, name.data(), name.size());
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
    OCTET_CHECK(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), length) == 0);
    return socket;
  }
  UniqueFd call(const Bytes& words) const {
    UniqueFd socket = call();
    OCTET_CHECK(::send(socket.get(), words.data(), words.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(words.size()));
    return socket;
  }
  Bytes hello(LineKind kind, int rank) const { return pack_rank_hello({invitation_.secret, kind, rank, "b"}); }
  static bool is_sent_away(const UniqueFd& socket) {
    char word = 0;
    return ::recv(socket.get(), &word, 1, MSG_DONTWAIT) == 0;
  }

  JobDesk desk_ = *JobDesk::open(2, /*several_hosts=*/false, "");
  const JobInvitation invitation_ = *parse_invitation(desk_.invitation());
};

TEST_F(JobDeskTest, TakesStagesAndTheFirstVerdict) {
  const UniqueFd other = call(joined(hello(LineKind::kReports, 1), pack_rank_report({RankStage::kJoining, ""})));
  const UniqueFd rank = call(joined(hello(LineKind::kReports, 0), pack_rank_report({std::nullopt, "first"})));
  desk_.take();
  EXPECT_EQ(desk_.ranks()[1].stage, RankStage::kJoining);
  EXPECT_EQ(desk_.ranks()[1].host, "b");
  EXPECT_EQ(desk_.ranks()[0].stage, RankStage::kStarted);
  EXPECT_EQ(desk_.verdict(), "first");
  const Bytes second = pack_rank_report({std::nullopt, "second"});
  OCTET_CHECK(::send(other.get(), second.data(), second.size(), 0) > 0);
  desk_.take();
  EXPECT_EQ(desk_.verdict(), "first");
}

TEST_F(JobDeskTest, StrangersAreSentAway) {
  const Bytes verdict = pack_rank_report({std::nullopt, "forged"});
  const UniqueFd wrong = call(joined(pack_rank_hello({"guess", LineKind::kReports, 1, "b"}), verdict));
  const UniqueFd none = call(joined(pack_rank_hello({"", LineKind::kReports, 1, "b"}), verdict));
  const UniqueFd beyond = call(joined(hello(LineKind::kReports, 2), verdict));
  const UniqueFd noise = call(Bytes(100, std::byte{0xff}));
  desk_.take();
  for (const UniqueFd* caller : {&wrong, &none, &beyond, &noise}) EXPECT_TRUE(is_sent_away(*caller));
  EXPECT_EQ(desk_.verdict(), "");
  EXPECT_FALSE(desk_.anybody_came());
}

TEST_F(JobDeskTest, SilentStrangersKeepNobodyOut) {
  std::vector<UniqueFd> silent;
  for (int i = 0; i < 200; ++i) {
    silent.push_back(call());
    desk_.take();
  }
  const UniqueFd rank = call(hello(LineKind::kReports, 1));
  desk_.take();
  EXPECT_EQ(desk_.ranks()[1].stage, RankStage::kStarted);
  EXPECT_TRUE(is_sent_away(silent[0]));
}

TEST_F(JobDeskTest, PassesOnWholeLinesOfEachRank) {
  const auto say = [](const UniqueFd& rank, const std::string& text) {
    OCTET_CHECK(::send(rank.get(), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
  };
  const UniqueFd a = call(hello(LineKind::kLog, 0)), b = call(hello(LineKind::kLog, 1));
  desk_.take();
  say(a, "one and");
  say(b, "other\nhalf");
  EXPECT_EQ(desk_.take(), "other\n");
  say(a, " a half\n");
  EXPECT_EQ(desk_.take(), "one and a half\n");
  say(a, std::string(100'000, 'x'));
  EXPECT_GT(desk_.take().size(), 60'000U) << "a line without an end is cut";
  EXPECT_THAT(desk_.finish(), HasSubstr("half\n"));
}

TEST_F(JobDeskTest, AnUnfinishedLineIsPassedOnAtTheEnd) {
  const Bytes log{std::byte{'e'}, std::byte{'n'}, std::byte{'d'}};
  const UniqueFd a = call(joined(hello(LineKind::kLog, 0), log));
  EXPECT_EQ(desk_.take(), "");
  EXPECT_EQ(desk_.finish(), "end\n");
}

// What a rank writes, by either way, is text and nothing else.
class ForgedLogTest : public testing::JobTest {
 protected:
  const std::string frame_ = std::string(74, '-');
  const std::string forged_ =
      "octet: rank 1 (host b) died: forged\n" + frame_ +
      "\nmpirun noticed that process rank 1 with PID 0 on node b exited on signal 9 (Killed).\n" + frame_ + "\n" +
      frame_ + "\nMPI_ABORT was invoked\n" + frame_ + "\n" + std::string(62, '-') +
      "\nPrimary job  terminated normally\nthe last line\n";
};

TEST_F(ForgedLogTest, WhatARankPrintsBeforeItReportsIsPassedOn) {
  const TempFolder folder;
  const std::string program = folder / "octet";
  write_file(folder / "forged", forged_);
  write_file(program, "#!/bin/sh\n[ \"$OMPI_COMM_WORLD_RANK\" = 0 ] || cat " + (folder / "forged").string() +
                          " >&2\nexec " OCTET_BINARY " \"$@\"\n");
  std::filesystem::permissions(program, std::filesystem::perms::owner_all);
  write_file(folder / "cluster.toml", "ranks = 2\nbinary = \"" + program + "\"\n");
  const testing::Outcome outcome = testing::run_octet(std::vector<std::string>{
      "run", "--cluster", folder / "cluster.toml", "--", "generate", "In", "--max-tokens", "2"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("octet: rank 1 (host b) died: forged\n"));
  EXPECT_THAT(outcome.err, HasSubstr("the last line\n"));
}

TEST_F(ForgedLogTest, WhatARankThatReportsPrintsIsPassedOn) {
  const testing::Outcome outcome =
      testing::run_octet(testing::on_ranks(2, {"generate", "--ids", "/nowhere/x\n" + forged_}));
  EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("the last line"));
  EXPECT_THAT(outcome.err, HasSubstr("MPI_ABORT was invoked"));
}

TEST_F(ForgedLogTest, ARankThatCannotCallLogsAllTheSame) {
  const TempFolder folder;
  const std::string program = folder / "octet";
  write_file(program,
             "#!/bin/sh\n[ \"$OMPI_COMM_WORLD_RANK\" = 0 ] || export OCTET_JOB='x unix octet-nowhere'\n"
             "exec " OCTET_BINARY " \"$@\"\n");
  std::filesystem::permissions(program, std::filesystem::perms::owner_all);
  write_file(folder / "cluster.toml", "ranks = 2\nbinary = \"" + program + "\"\n");
  const std::vector<std::string> run = {"run", "--cluster", folder / "cluster.toml", "--"};
  using testing::operator+;
  const testing::Outcome outcome =
      testing::run_octet(run + std::vector<std::string>{"generate", "In", "--max-tokens", "2"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("octet rank 1: cannot reach octet run"));
  EXPECT_THAT(outcome.err, HasSubstr("octet rank 1: /"));
  const testing::Outcome refused =
      testing::run_octet(run + std::vector<std::string>{"generate", "--ids", "/nowhere/x\n" + forged_});
  EXPECT_EQ(refused.exit_code, 2) << refused.err;
  EXPECT_THAT(refused.err, HasSubstr("the last line"));
}

TEST_F(ForgedLogTest, LongARankThatCannotCallIsNotMissing) {
  const TempFolder folder;
  const std::string program = folder / "octet";
  write_file(program, "#!/bin/sh\nexport OCTET_JOB='x unix octet-nowhere'\nexec " OCTET_BINARY " \"$@\"\n");
  std::filesystem::permissions(program, std::filesystem::perms::owner_all);
  write_file(folder / "cluster.toml", "ranks = 2\nbinary = \"" + program + "\"\n");
  testing::RunningOctet run(std::vector<std::string>{"run", "--cluster", folder / "cluster.toml", "--start-limit", "15",
                                                     "--", "generate", "In", "--ignore-eos", "--max-tokens", "30000"});
  ASSERT_FALSE(run.read_bytes(20).empty());
  std::this_thread::sleep_for(testing::Seconds(16));
  EXPECT_FALSE(run.has_ended());
  run.send(SIGTERM);
  EXPECT_EQ(run.wait().exit_code, 130);
}

}  // namespace
}  // namespace octet
