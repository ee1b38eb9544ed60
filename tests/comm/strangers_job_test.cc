// A real job under mpirun, with a crowd of strangers at its watchdog's port before its ranks come.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <fstream>
#include <random>
#include <set>
#include <sstream>

#include "watched_job.h"

namespace octet {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::IsEmpty;

// Ranks that have become their program: until then they hold the sockets of mpirun, whose port is not the test's.
std::vector<pid_t> ranks_of(pid_t mpirun) {
  const std::string folder = "/proc/" + std::to_string(mpirun);
  std::ifstream file(folder + "/task/" + std::to_string(mpirun) + "/children");
  std::vector<pid_t> ranks{std::istream_iterator<pid_t>(file), {}};
  const std::string program = std::filesystem::path(OCTET_WATCHDOG_PROGRAM).filename();
  std::erase_if(ranks, [&](pid_t rank) {
    std::error_code gone;
    return std::filesystem::read_symlink("/proc/" + std::to_string(rank) + "/exe", gone).filename() != program;
  });
  return ranks;
}

// Inodes of the sockets of a process.
std::set<std::string> sockets_of(pid_t process) {
  std::set<std::string> inodes;
  std::error_code gone;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(process) + "/fd", gone)) {
    const std::string target = std::filesystem::read_symlink(entry.path(), gone).string();
    if (target.starts_with("socket:[")) inodes.insert(target.substr(8, target.size() - 9));
  }
  return inodes;
}

// Ports of the loopback interface at which a process listens: a rank's own are its watchdog's, MPI's are everywhere.
std::vector<uint16_t> ports_of(pid_t process) {
  const std::set<std::string> inodes = sockets_of(process);
  std::vector<uint16_t> ports;
  std::ifstream table("/proc/" + std::to_string(process) + "/net/tcp");
  for (std::string line; std::getline(table, line);) {
    std::istringstream words(line);
    std::string number, local, remote, state, queues, timer, retransmits, user, timeout, inode;
    words >> number >> local >> remote >> state >> queues >> timer >> retransmits >> user >> timeout >> inode;
    if (state != "0A" || !local.starts_with("0100007F:") || !inodes.contains(inode)) continue;
    ports.push_back(static_cast<uint16_t>(std::stoi(local.substr(9), nullptr, 16)));
  }
  return ports;
}

// Calls until it is destroyed, a thousand times at most, each time as another kind of stranger.
class Crowd {
 public:
  explicit Crowd(pid_t mpirun) : thread_([this, mpirun](const std::stop_token& stop) { run(mpirun, stop); }) {}

  // Strangers that were there so far.
  int size() const { return size_; }

 private:
  void run(pid_t mpirun, const std::stop_token& stop) {
    std::vector<UniqueFd> open;
    std::mt19937 random(3);
    while (!stop.stop_requested() && size_ < 1000) {
      for (const pid_t rank : ranks_of(mpirun)) {
        for (const uint16_t port : ports_of(rank)) {
          for (int i = 0; i < 100; ++i) call(port, open, random);
        }
      }
      std::this_thread::sleep_for(milliseconds(1));
    }
  }

  void call(uint16_t port, std::vector<UniqueFd>& open, std::mt19937& random) {
    auto socket = connect_tcp("127.0.0.1", port, seconds(1));
    if (!socket.ok()) return;
    std::string words(random() % 3 == 0 ? 0 : random() % 20'000, ' ');
    for (char& byte : words) byte = static_cast<char>(random());
    if (random() % 4 == 0) words = "GET / HTTP/1.1\r\n\r\n";
    send(socket->get(), words.data(), words.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (random() % 3 == 0) shutdown(socket->get(), SHUT_WR);
    if (random() % 4 != 0) open.push_back(*std::move(socket));
    ++size_;
  }

  std::atomic<int> size_{0};
  std::jthread thread_;
};

TEST(StrangersJob, ACrowdAtItsPortHoldsAndEndsNothing) {
  if (std::string(OCTET_WATCHDOG_PROGRAM).empty()) GTEST_SKIP() << "built for the thread sanitizer";
  WatchedJob job(3, {OCTET_WATCHDOG_PROGRAM, "work", "1", "30000", "120000"},
                 {"LD_PRELOAD=" + std::string(OCTET_SLOW_CONNECT)});
  const Crowd crowd(job.mpirun());
  EXPECT_EQ(job.exit_code(seconds(120)), 0) << job.text();
  EXPECT_THAT(job.verdicts(), IsEmpty());
  EXPECT_GT(crowd.size(), 100);
}

}  // namespace
}  // namespace octet
