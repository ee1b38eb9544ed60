// One rank of an MPI job with a watchdog, for tests that harm it. Works, prints its process id once the others have
// heard of its work, and leaves with exit code 0 after the given time unless something ends it. usage: mpirun -n N
// watchdog_program MODE SECONDS SILENCE_MS COLLECTIVE_MS [DEVICE]      DEVICE: "cuda": the collectives are NCCL's
//   work     small collectives with pauses
//   absent   the same, but rank 1 soon stops coming
//   compute  the same, but rank 1 computes for three quarters of the time, and says so
//   idle     the same, but rank 0 waits for requests for three quarters of the time, and says so
//   fail     the same, but rank 1 soon fails
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string>
#include <thread>

#include "comm/comm_factory.h"
#include "comm/watchdog.h"
#include "kernels/backend_factory.h"
#include "runtime/base/log.h"
#include "runtime/base/process_end.h"

namespace octet {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

void compute(CommProgress& progress, Clock::time_point end) {
  while (Clock::now() < end) {
    std::this_thread::sleep_for(milliseconds(20));
    progress.tick();
  }
}

// What sets this round apart in this mode, on the rank that it concerns.
void harm(const std::string& mode, CommWorld& world, Watchdog& watchdog, Clock::time_point end) {
  if (mode == "absent" && world.rank() == 1) std::this_thread::sleep_until(Clock::time_point::max());
  if (mode == "fail" && world.rank() == 1) watchdog.end_job(invalid_input("a bad shard"));
  if (mode == "compute" && world.rank() == 1) compute(world.progress(), end);
  if (mode == "idle" && world.rank() == 0) {
    world.progress().set_idle(true);
    std::this_thread::sleep_until(end);
    world.progress().set_idle(false);
  }
}

// Prints this rank's process id when the watchdog has gone round a few times since work began: it sends heartbeats as
// it hears others', so what these tell from then on is a place in the work.
class Announcement {
 public:
  Announcement(int rank, const Watchdog& watchdog) : rank_(rank), watchdog_(watchdog) {}

  // Called in every round.
  void look() {
    if (num_heard_ == kEnough) return;
    const double age = watchdog_.heartbeat_ages()[rank_ == 0 ? 1 : 0];
    if (age < age_ && ++num_heard_ == kEnough) {
      std::printf("rank %d is process %d\n", rank_, getpid());
      std::fflush(stdout);
    }
    age_ = age;
  }

 private:
  static constexpr int kEnough = 4;

  const int rank_;
  const Watchdog& watchdog_;
  double age_ = 0;
  int num_heard_ = 0;
};

void work(const std::string& mode, CommWorld& world, Backend& backend, Watchdog& watchdog, milliseconds time) {
  std::vector<int> ranks(static_cast<size_t>(world.size()));
  std::iota(ranks.begin(), ranks.end(), 0);
  const auto group = world.make_group(ranks);
  const std::vector<int64_t> one_row_each(ranks.size(), 1);
  const Tensor send = backend.allocate_tensor(DType::kF32, {world.size(), 64});
  const Tensor receive = backend.allocate_tensor(DType::kF32, {world.size(), 64});
  const std::unique_ptr<Stream> stream = backend.make_stream();
  const auto begin = Clock::now();
  std::vector<std::byte> go_on(1, std::byte{1});
  Announcement announcement(world.rank(), watchdog);
  for (int round = 0; go_on[0] == std::byte{1}; ++round) {
    if (round == 20) harm(mode, world, watchdog, begin + time * 3 / 4);
    world.progress().set_place(kNoLayer, Phase::kPlan);
    go_on[0] = static_cast<std::byte>(Clock::now() < begin + time);
    world.host().broadcast(go_on, 0);
    world.progress().set_place(7, Phase::kDispatch);
    group->all_to_all_v(send.view, one_row_each, receive.view, one_row_each, *stream);
    world.wait(*stream);
    std::this_thread::sleep_for(milliseconds(5));
    announcement.look();
  }
}

Status run(const std::vector<std::string>& arguments) {
  signal(SIGTERM, SIG_IGN);  // mpirun's, soon after a rank has died: these are to say why first
  OCTET_ASSIGN_OR_RETURN(std::unique_ptr<CommWorld> world, make_comm_world());
  const int rank = world->rank();
  OCTET_RETURN_IF_ERROR(init_log({.label = fmt::format("octet rank {}", rank), .rank = rank}));
  const std::string device = arguments.size() > 4 ? arguments[4] : "reference";
  OCTET_ASSIGN_OR_RETURN(const auto backend, make_backend({device, 1, "", world->local_rank()}));
  OCTET_ASSIGN_OR_RETURN(world, make_device_world(std::move(world), backend->memory_kind()));
  WatchdogOptions options;
  options.interval = milliseconds(100);
  options.limits = {milliseconds(std::stoi(arguments[2])), milliseconds(std::stoi(arguments[3]))};
  options.on_failure = [](const JobFailure& failure) { log_info("called back for rank {}", failure.rank); };
  OCTET_ASSIGN_OR_RETURN(const auto watchdog, Watchdog::start(*world, options));
  work(arguments[0], *world, *backend, *watchdog, milliseconds(std::stoi(arguments[1]) * 1000));
  return ok_status();
}

}  // namespace
}  // namespace octet

int main(int argc, char** argv) {
  if (argc < 5) return 1;
  octet::set_process_end(_exit);
  const octet::Status status = octet::run({argv + 1, argv + argc});
  if (!status.ok()) std::fprintf(stderr, "rank %d: %s\n", octet::launched_rank(), status.message().c_str());
  return status.exit_code();
}
