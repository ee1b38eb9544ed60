#include "comm/watch_reception.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>

namespace octet {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kCallLimit{10'000};    // for all that a caller has to say: a busy rank may take its time
constexpr milliseconds kDescriptorPause{10};  // before a connection is asked for again that there was no descriptor for

}  // namespace

void WatchReception::take_calls(milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  while (static_cast<int>(links_.size()) + 1 < num_ranks_) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    if (left <= milliseconds(0)) return;
    wait_for_news(left);
    accept_all();
    std::erase_if(callers_, [this](Caller& caller) { return hear(caller); });
  }
}

std::vector<int> WatchReception::missing() const {
  std::vector<int> missing;
  for (int rank = 1; rank < num_ranks_; ++rank) {
    if (std::ranges::find(links_, rank, &RankLink::rank) == links_.end()) missing.push_back(rank);
  }
  return missing;
}

// Returns when somebody calls or a caller has spoken or may speak no longer, or after `limit`.
void WatchReception::wait_for_news(milliseconds limit) const {
  std::vector<pollfd> fds = {{listener_.socket.get(), POLLIN, 0}};
  for (const Caller& caller : callers_) {
    fds.push_back({caller.link.fd(), POLLIN, 0});
    limit = std::min(limit, std::chrono::ceil<milliseconds>(caller.deadline - Clock::now()));
  }
  poll(fds.data(), fds.size(), static_cast<int>(std::max(limit, milliseconds(0)).count()));
}

// As many as wait, but not so many that nobody is heard.
void WatchReception::accept_all() {
  for (size_t i = 0; i < kMaxCallers; ++i) {
    errno = 0;
    auto socket = accept_tcp(listener_, milliseconds(0));
    const bool has_no_descriptor = !socket.ok() && (errno == EMFILE || errno == ENFILE);
    if (has_no_descriptor && callers_.empty()) poll(nullptr, 0, static_cast<int>(kDescriptorPause.count()));
    if (!callers_.empty() && (has_no_descriptor || (socket.ok() && callers_.size() == kMaxCallers))) {
      ++num_strangers_;
      callers_.pop_front();
    }
    if (!socket.ok()) return;
    callers_.push_back({MessageLink(*std::move(socket)), draw_random(), Clock::now() + kCallLimit});
    Caller& caller = callers_.back();
    caller.link.limit_payload(kMaxHandshakePayload);
    caller.link.send(MessageType::kChallenge, caller.challenge);
  }
}

bool WatchReception::hear(Caller& caller) {
  while (const auto message = caller.link.next()) {
    if (take_message(caller, *message)) return true;
  }
  if (!caller.link.closed() && Clock::now() < caller.deadline) return false;
  ++num_strangers_;
  return true;
}

bool WatchReception::take_message(Caller& caller, const Message& message) {
  if (message.type == MessageType::kHello && caller.rank == 0) {
    const auto hello = unpack_hello(message.payload);
    if (hello.ok() && hello->rank > 0 && hello->rank < num_ranks_ && is_genuine(*hello, secret_, caller.challenge)) {
      caller.rank = hello->rank;
      caller.link.send(MessageType::kWelcome, make_welcome(secret_, caller.challenge, *hello));
      return false;
    }
  }
  if (message.type == MessageType::kReady && caller.rank != 0) {
    caller.link.limit_payload(MessageLink::kMaxPayload);
    // A rank that gave up an earlier call has called again, and keeps this one.
    std::erase_if(links_, [&caller](const RankLink& link) { return link.rank == caller.rank; });
    links_.push_back({caller.rank, std::move(caller.link)});
    return true;
  }
  ++num_strangers_;
  return true;
}

}  // namespace octet
