#include "tests/softgpu/exec/block.h"

#include <driver_types.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

namespace octet::softgpu {

void Block::start(u64 linear_index) {
  const Dim3& grid = launch_.grid;
  ctaid_ = {u32(linear_index % grid.x), u32(linear_index / grid.x % grid.y),
            u32(linear_index / (u64{grid.x} * grid.y))};
  threads_ = unsigned(launch_.block.count());
  std::size_t shared_bytes = launch_.static_shared_bytes + launch_.dynamic_shared_bytes;
  if (launch_.reserved_shared_bytes) shared_bytes = round_up(shared_bytes, 16) + launch_.reserved_shared_bytes;
  // Real shared memory starts out with whatever was there; a pattern makes that visible.
  shared_.assign(shared_bytes, std::byte{0xff});
  std::fill_n(shared_.end() - launch_.reserved_shared_bytes, launch_.reserved_shared_bytes, std::byte{0});
  if (launch_.init_check) {
    shared_initialized_.assign(shared_bytes, 0);
    std::fill_n(shared_initialized_.end() - launch_.reserved_shared_bytes, launch_.reserved_shared_bytes, u8{1});
  }
  warps_.resize((threads_ + kLanes - 1) / kLanes);
  if (launch_.race_check) races_ = std::make_unique<RaceDetector>(launch_.race_check, warp_count(), u32(shared_bytes));
  for (Barrier& b : barriers_) b = Barrier{};
  for (unsigned w = 0; w < warps_.size(); ++w) warps_[w].start(*this, w, *launch_.code);
}

bool Block::run(bool bounded) {
  constexpr u64 kSlice = 256;  // jumps before another warp gets its turn
  u64 rounds = 0;
  for (;;) {
    bool progress = false, done = true;
    for (Warp& warp : warps_) {
      if (warp.state() == Warp::State::kReady) {
        warp.run(kSlice);
        progress = true;
      }
      done &= warp.state() == Warp::State::kDone;
    }
    if (done) {
      for (Warp& warp : warps_) launch_.lane_instructions += std::exchange(warp.lane_instructions, 0);
      return true;
    }
    if (!progress) deadlock();
    if (++rounds % 1024 == 0) {
      if (launch_.cancelled) throw DeviceFault(cudaErrorLaunchFailure, "cancelled");
      if (std::chrono::steady_clock::now() > launch_.deadline) {
        std::string text = "kernel '" + launch_.kernel_name + "' ran longer than SOFTGPU_TIMEOUT_S;";
        for (const Warp& warp : warps_)
          if (warp.state() != Warp::State::kDone) text += "\n  " + warp.position();
        throw DeviceFault(cudaErrorLaunchTimeout, text);
      }
    }
    if (bounded) return false;
  }
}

u32 Block::live_threads() const {
  u32 count = 0;
  for (const Warp& warp : warps_) count += u32(std::popcount(warp.live_lanes()));
  return count;
}

bool Block::arrive(Warp& warp, unsigned index, u32 expected, u32 lanes, u32 predicate, bool wait) {
  Barrier& b = barriers_[index];
  // With an explicit thread count, warps count as whole ones.
  b.arrived += expected ? kLanes : u32(std::popcount(lanes));
  b.expected = expected;
  b.participants.push_back(warp.index());
  b.pending.count += u32(std::popcount(predicate & lanes));
  b.pending.any |= (predicate & lanes) != 0;
  b.pending.all &= (predicate & lanes) == lanes;
  if (!wait) {
    release_if_complete(b);
    return true;
  }
  b.waiting.push_back(&warp);
  warp.wait_at_barrier();
  return release_if_complete(b);
}

bool Block::release_if_complete(Barrier& b) {
  if (b.arrived == 0 || b.arrived < (b.expected ? b.expected : live_threads())) return false;
  if (races_) races_->join_warps(b.participants);
  b.result = b.pending;
  const auto waiting = std::move(b.waiting);
  b.waiting.clear();
  b.participants.clear();
  b.arrived = 0;
  b.pending = {0, 0, 1};
  for (Warp* warp : waiting) warp->resume_from_barrier();
  return true;
}

void Block::release_barriers() {
  for (Barrier& b : barriers_) release_if_complete(b);
}

void Block::deadlock() const {
  std::string text = "deadlock: every warp of the block waits at a barrier that cannot complete";
  for (const Warp& warp : warps_)
    if (warp.state() == Warp::State::kAtBarrier) text += "\n    " + warp.position();
  const auto it = std::ranges::find(warps_, Warp::State::kAtBarrier, &Warp::state);
  it->fault(it->current(), cudaErrorLaunchFailure, text, unsigned(std::countr_zero(it->live_lanes())));
}

namespace {

unsigned host_threads() {
  static const unsigned n =
      unsigned(environment("SOFTGPU_THREADS", long(std::max(1u, std::thread::hardware_concurrency()))));
  return n;
}

// Host threads that help those that launch kernels.
class Helpers {
 public:
  static Helpers& instance() {
    static Helpers& helpers = *new Helpers;  // never destroyed: its threads run until the process ends
    return helpers;
  }

  // Calls work() here and on up to `count` helpers at the same time; returns when all calls have.
  void run(unsigned count, const std::function<void()>& work) {
    Job job{work};
    {
      std::lock_guard lock(mutex_);
      queue_.insert(queue_.end(), count, &job);
    }
    for (unsigned i = 0; i < count; ++i) changed_.notify_one();
    work();
    std::unique_lock lock(mutex_);
    std::erase(queue_, &job);  // helpers that have not come by now are not needed
    finished_.wait(lock, [&] { return job.running == 0; });
  }

 private:
  struct Job {
    const std::function<void()>& work;
    unsigned running = 0;
  };

  Helpers() {
    for (unsigned t = 1; t < host_threads(); ++t) std::thread([this] { serve(); }).detach();
  }

  void serve() {
    for (std::unique_lock lock(mutex_);;) {
      changed_.wait(lock, [&] { return !queue_.empty(); });
      Job& job = *queue_.front();
      queue_.pop_front();
      ++job.running;
      lock.unlock();
      job.work();
      lock.lock();
      if (--job.running == 0) finished_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_, finished_;
  std::deque<Job*> queue_;
};

// Runs work() on as many host threads as are useful for `blocks` blocks; rethrows the first fault.
template <class Work>
void on_threads(u64 blocks, Launch& launch, Work work) {
  std::mutex mutex;
  std::exception_ptr first;
  const auto guarded = [&] {
    try {
      work();
    } catch (...) {
      std::lock_guard lock(mutex);
      if (!first) first = std::current_exception();
      launch.cancelled = true;
    }
  };
  const unsigned helpers = unsigned(std::min<u64>(host_threads(), blocks)) - 1;
  if (helpers == 0)
    guarded();
  else
    Helpers::instance().run(helpers, guarded);
  if (first) std::rethrow_exception(first);
}

// All blocks are resident at once; host threads take turns with them.
void execute_cooperatively(Launch& launch) {
  struct Resident {
    explicit Resident(Launch& launch) : block(launch) {}
    Block block;
    std::atomic<bool> taken = false;
    bool done = false;
  };
  const u64 blocks = launch.grid.count();
  std::deque<Resident> residents;
  for (u64 b = 0; b < blocks; ++b) residents.emplace_back(launch).block.start(b);
  std::atomic<u64> finished = 0;
  on_threads(blocks, launch, [&] {
    while (finished < blocks && !launch.cancelled)
      for (Resident& r : residents) {
        if (r.taken.exchange(true)) continue;
        if (!r.done && r.block.run(true)) r.done = true, ++finished;
        r.taken = false;
      }
  });
}

}  // namespace

void execute(Launch& launch) {
  if (launch.cooperative) return execute_cooperatively(launch);
  const u64 blocks = launch.grid.count();
  std::atomic<u64> next = 0;
  on_threads(blocks, launch, [&] {
    Block block(launch);
    for (u64 b; (b = next++) < blocks && !launch.cancelled;) {
      block.start(b);
      block.run(false);
    }
  });
}

}  // namespace octet::softgpu
