#include "tests/softgpu/nccl/nccl_channel.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <thread>

namespace octet::softgpu {
namespace {

constexpr u64 kRingBytes = 64 * 1024;
constexpr int kMaxRanks = 64;

using Clock = std::chrono::steady_clock;

std::chrono::seconds timeout() { return std::chrono::seconds(environment("SOFTGPU_NCCL_TIMEOUT_S", 120)); }

// A zombie is dead, too: nobody may wait for it until we are done.
bool is_alive(pid_t process) {
  if (kill(process, 0) != 0 && errno == ESRCH) return false;
  std::ifstream file("/proc/" + std::to_string(process) + "/stat");
  std::string text;
  std::getline(file, text);
  const std::size_t name_end = text.rfind(") ");
  return name_end == std::string::npos || text[name_end + 2] != 'Z';
}

// Yields at first, then sleeps, so that waiting ranks do not starve working ones.
class Backoff {
 public:
  void pause() {
    if (++spins_ < 64)
      sched_yield();
    else
      std::this_thread::sleep_for(std::chrono::microseconds(std::min(20 * (spins_ - 63), 500)));
  }
  void reset() { spins_ = 0; }

 private:
  int spins_ = 0;
};

}  // namespace

// A queue of bytes with one writer and one reader.
struct Transport::Ring {
  alignas(64) std::atomic<u64> written;
  alignas(64) std::atomic<u64> read;
  alignas(64) std::byte data[kRingBytes];

  u64 write(const std::byte* from, u64 bytes) {
    const u64 at = written.load(std::memory_order_relaxed);
    const u64 n = std::min(bytes, kRingBytes - (at - read.load(std::memory_order_acquire)));
    const u64 first = std::min(n, kRingBytes - at % kRingBytes);
    std::memcpy(data + at % kRingBytes, from, first);
    std::memcpy(data, from + first, n - first);
    written.store(at + n, std::memory_order_release);
    return n;
  }
  u64 read_into(std::byte* to, u64 bytes) {
    const u64 at = read.load(std::memory_order_relaxed);
    const u64 n = std::min(bytes, written.load(std::memory_order_acquire) - at);
    const u64 first = std::min(n, kRingBytes - at % kRingBytes);
    std::memcpy(to, data + at % kRingBytes, first);
    std::memcpy(to + first, data, n - first);
    read.store(at + n, std::memory_order_release);
    return n;
  }
};

// What precedes the ranks * ranks rings. Fresh shared memory is zero, which is the initial state of everything in it.
struct alignas(64) Transport::Segment {
  std::atomic<int> ranks;  // as given by the first to attach
  std::atomic<int> attached;
  std::atomic<int> aborted;  // rank + 1 of the one that gave up
  std::atomic<pid_t> process[kMaxRanks];
  std::atomic<int> left[kMaxRanks];
};

Transport::Transport(const std::string& name, int ranks, int rank, const std::atomic<bool>& cancelled)
    : name_(name), ranks_(ranks), rank_(rank), cancelled_(cancelled) {
  if (ranks < 1 || ranks > kMaxRanks || rank < 0 || rank >= ranks)
    throw TransportError(format("rank %d of %d", rank, ranks));
  bytes_ = sizeof(Segment) + sizeof(Ring) * std::size_t(ranks) * std::size_t(ranks);
  const int file = shm_open(name.c_str(), O_RDWR | O_CREAT, 0600);
  if (file < 0 || ftruncate(file, off_t(bytes_)) != 0) throw TransportError("cannot create shared memory " + name);
  void* p = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (p == MAP_FAILED) throw TransportError("cannot map shared memory " + name);
  segment_ = static_cast<Segment*>(p);
  try {
    meet();
  } catch (const TransportError&) {
    munmap(segment_, bytes_);
    shm_unlink(name.c_str());
    throw;
  }
  if (rank == 0) shm_unlink(name.c_str());  // everybody has it mapped
}

void Transport::meet() {
  int expected = 0;
  if (!segment_->ranks.compare_exchange_strong(expected, ranks_) && expected != ranks_)
    throw TransportError(format("rank %d expects %d ranks, others %d", rank_, ranks_, expected));
  pid_t nobody = 0;
  if (!segment_->process[rank_].compare_exchange_strong(nobody, getpid()))
    throw TransportError(format("rank %d exists twice", rank_));
  ++segment_->attached;
  Backoff backoff;
  for (const auto deadline = Clock::now() + timeout();; backoff.pause()) {
    // Before the look: who is late itself may find that all is well.
    const bool late = Clock::now() > deadline, aborted = is_aborted();
    if (segment_->attached == ranks_) return;
    if (aborted) check_aborted();
    if (late)
      throw TransportError(format("rank %d: timeout while waiting for all %d ranks to initialise (%d did)", rank_,
                                  ranks_, int(segment_->attached)));
  }
}

Transport::~Transport() { munmap(segment_, bytes_); }

Transport::Ring& Transport::ring(int from, int to) const {
  return reinterpret_cast<Ring*>(segment_ + 1)[from * ranks_ + to];
}

void Transport::abort() {
  int nobody = 0;
  segment_->aborted.compare_exchange_strong(nobody, rank_ + 1);
}

void Transport::leave() { segment_->left[rank_] = 1; }

bool Transport::is_aborted() const { return cancelled_ || segment_->aborted != 0; }

void Transport::check_aborted() const {
  if (cancelled_) throw TransportError("aborted");
  if (const int who = segment_->aborted; who != 0)
    throw TransportError(format("rank %d aborted the communicator", who - 1));
}

void Transport::check_alive(const std::vector<int>& peers) const {
  for (const int r : peers) {
    const pid_t process = segment_->process[r];
    if (process && !segment_->left[r] && !is_alive(process))
      throw TransportError(format("rank %d: the process of rank %d has died", rank_, r));
  }
}

// The transfers of one Transport::run: a queue for each peer and direction, worked off round-robin.
class Transport::Exchange {
 public:
  Exchange(Transport& transport, const std::vector<Transfer>& transfers)
      : transport_(transport),
        sends_(std::size_t(transport.ranks_)),
        receives_(std::size_t(transport.ranks_)),
        remaining_(transfers.size()) {
    for (const Transfer& t : transfers) {
      if (t.peer < 0 || t.peer >= transport.ranks_)
        throw TransportError(format("rank %d: there is no peer %d", transport.rank_, t.peer));
      (t.sending ? sends_ : receives_)[std::size_t(t.peer)].messages.push_back(&t);
    }
  }

  bool done() const { return remaining_ == 0; }

  // Moves what fits; true if anything moved.
  bool advance() {
    bool moved = false;
    for (int peer = 0; peer < transport_.ranks_; ++peer) {
      moved |= advance(sends_[std::size_t(peer)], peer);
      moved |= advance(receives_[std::size_t(peer)], peer);
    }
    return moved;
  }

  // The peers that have not done their part yet, also in words.
  std::vector<int> awaited(std::string& words) const {
    std::vector<int> peers;
    const auto await = [&](const Queue& q, int peer, const char* what) {
      if (q.current == q.messages.size()) return;
      peers.push_back(peer);
      words += format(" %d (to %s)", peer, what);
    };
    for (int peer = 0; peer < transport_.ranks_; ++peer) {
      await(sends_[std::size_t(peer)], peer, "receive");
      await(receives_[std::size_t(peer)], peer, "send");
    }
    return peers;
  }

 private:
  struct Queue {
    std::vector<const Transfer*> messages;
    std::size_t current = 0;
    u64 done = 0;  // bytes of the current message, header included
    MessageHeader header;
  };

  bool advance(Queue& q, int peer) {
    bool moved = false;
    while (q.current < q.messages.size()) {
      const Transfer& t = *q.messages[q.current];
      const bool in_header = q.done < sizeof(MessageHeader);
      const u64 offset = in_header ? q.done : q.done - sizeof(MessageHeader);
      const u64 wanted = (in_header ? sizeof(MessageHeader) : t.bytes) - offset;
      if (t.sending && q.done == 0) q.header = t.header;
      std::byte* bytes = (in_header ? reinterpret_cast<std::byte*>(&q.header) : t.data) + offset;
      const u64 n = t.sending ? transport_.ring(transport_.rank_, peer).write(bytes, wanted)
                              : transport_.ring(peer, transport_.rank_).read_into(bytes, wanted);
      q.done += n;
      moved |= n > 0;
      if (!t.sending && in_header && q.done == sizeof(MessageHeader)) check(q.header, t.header, peer);
      if (q.done == sizeof(MessageHeader) + t.bytes) {
        q.done = 0;
        ++q.current;
        --remaining_;
      } else if (n < wanted) {
        break;
      }
    }
    return moved;
  }

  void check(const MessageHeader& got, const MessageHeader& expected, int peer) const {
    if (got == expected) return;
    throw TransportError(format("mismatch: rank %d expects %s from rank %d, which sends %s", transport_.rank_,
                                describe(expected).c_str(), peer, describe(got).c_str()));
  }

  Transport& transport_;
  std::vector<Queue> sends_, receives_;
  std::size_t remaining_;
};

void Transport::run(const std::vector<Transfer>& transfers) {
  constexpr auto kLook = std::chrono::milliseconds(50);  // between looks at the peers' processes
  Exchange exchange(*this, transfers);
  Backoff backoff;
  auto moved = Clock::now(), looked = moved;
  while (!exchange.done()) {
    const bool aborted = is_aborted();  // what a peer sent before it gave up still counts
    if (exchange.advance()) {
      backoff.reset();
      moved = Clock::now();
      continue;
    }
    if (aborted) check_aborted();
    if (const auto now = Clock::now(); now - looked > kLook) {
      looked = now;
      std::string words = "rank";
      check_alive(exchange.awaited(words));
      if (now - moved > timeout())
        throw TransportError(format("rank %d: timeout while waiting for %s", rank_, words.c_str()));
    }
    backoff.pause();
  }
}

}  // namespace octet::softgpu
