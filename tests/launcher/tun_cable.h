// TunCable: a cable between two network namespaces that a test can make slow and lossy, and cut in one direction or
// both, while it is in use.
#pragma once

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <queue>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace octet::testing {

// Each namespace gets a device of its own name, without address. Packets that one sends the other receives in the order
// in which they are due. The knobs may be turned at any time.
class TunCable {
  using Clock = std::chrono::steady_clock;

 public:
  TunCable(const std::string& a, const std::string& b) : ends_{open_in(a), open_in(b)} {
    if (is_plugged_in()) thread_ = std::jthread([this](const std::stop_token& stop) { forward(stop); });
  }
  ~TunCable() {
    if (thread_.joinable()) {
      thread_.request_stop();
      thread_.join();
    }
    for (const int end : ends_) {
      if (end >= 0) ::close(end);
    }
  }
  TunCable(const TunCable&) = delete;
  TunCable& operator=(const TunCable&) = delete;

  // False where this machine has no such devices.
  bool is_plugged_in() const { return ends_[0] >= 0 && ends_[1] >= 0; }

  std::atomic<int> delay_ms{0};        // of every packet, each way
  std::atomic<int> lost_per_mille{0};  // packets that do not arrive
  std::atomic<bool> cut_from_a{false}, cut_from_b{false};

 private:
  struct Packet {
    Clock::time_point due;
    uint64_t number = 0;
    int to = -1;
    std::vector<char> bytes = {};
    bool operator<(const Packet& other) const { return std::pair(other.due, other.number) < std::pair(due, number); }
  };

  // A thread's network namespace is its own.
  static int open_in(const std::string& name) {
    int end = -1;
    std::thread([&] {
      const int space = ::open(("/run/netns/" + name).c_str(), O_RDONLY | O_CLOEXEC);
      if (space < 0 || ::setns(space, CLONE_NEWNET) != 0) return;
      ::close(space);
      end = ::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
      ifreq request{};
      request.ifr_flags = IFF_TUN | IFF_NO_PI;
      std::strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
      if (end < 0 || ::ioctl(end, TUNSETIFF, &request) == 0) return;
      ::close(end);
      end = -1;
    }).join();
    return end;
  }

  void forward(const std::stop_token& stop) {
    std::mt19937 random(7);
    std::priority_queue<Packet> under_way;
    uint64_t number = 0;
    while (!stop.stop_requested()) {
      int wait_ms = 20;
      if (!under_way.empty()) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(under_way.top().due - Clock::now()).count();
        wait_ms = static_cast<int>(std::clamp<int64_t>(left, 0, wait_ms));
      }
      std::array<pollfd, 2> fds{pollfd{ends_[0], POLLIN, 0}, pollfd{ends_[1], POLLIN, 0}};
      ::poll(fds.data(), fds.size(), wait_ms);
      for (const int from : {0, 1}) {
        std::array<char, 65536> bytes{};
        for (ssize_t size = 0; (size = ::read(ends_[static_cast<size_t>(from)], bytes.data(), bytes.size())) > 0;) {
          const bool is_cut = from == 0 ? cut_from_a : cut_from_b;
          if (is_cut || static_cast<int>(random() % 1000) < lost_per_mille) continue;
          under_way.push({Clock::now() + std::chrono::milliseconds(delay_ms),
                          number++,
                          ends_[static_cast<size_t>(1 - from)],
                          {bytes.begin(), bytes.begin() + size}});
        }
      }
      for (; !under_way.empty() && under_way.top().due <= Clock::now(); under_way.pop()) {
        const Packet& packet = under_way.top();
        // What a full queue or a device that is down drops is lost, as on any cable.
        [[maybe_unused]] const ssize_t written = ::write(packet.to, packet.bytes.data(), packet.bytes.size());
      }
    }
  }

  std::array<int, 2> ends_;
  std::jthread thread_;
};

}  // namespace octet::testing
