// One rank of a job on GPUs that checks what NCCL is asked for, call by call.
// usage: mpirun -n N nccl_traffic_program CHECKPOINT      SOFTGPU_TRACE names a file that all ranks write
//
// Every layout that fits N ranks reads three prompts of different lengths and decodes twice, in both row layouts,
// with the routing that the model chooses. What the software GPU has executed of NCCL, operation by operation with peer
// and bytes, replays of graphs included, must be what expected_calls.h computes.
#include <unistd.h>

#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "comm/agreement.h"
#include "comm/comm_factory.h"
#include "kernels/backend_factory.h"
#include "tests/cuda/shared_routing.h"
#include "tests/nccl/expected_calls.h"
#include "tests/nccl/rank_model.h"

namespace octet {
namespace {

constexpr int kDecodeSteps = 2;  // enqueued, then captured and replayed

// What this process's device has executed of NCCL since it was last asked.
class Trace {
 public:
  explicit Trace(const char* path) {
    std::ofstream(path, std::ios::app).flush();  // the software GPU makes it when there is something to write
    file_.open(path);
  }

  std::vector<NcclCall> next() {
    std::vector<NcclCall> calls;
    const std::string of_this_process = fmt::format("{{\"pid\":{},", getpid());
    for (std::string line; std::getline(file_, line); position_ = file_.tellg()) {
      if (file_.eof()) break;  // another rank is writing this line
      if (!line.starts_with(of_this_process) || line.find("\"nccl.") == std::string::npos) continue;
      const auto entry = nlohmann::json::parse(line);
      if (entry["stage"] != "executed") continue;
      calls.push_back({entry["what"].get<std::string>().substr(5), entry["bytes"], entry.value("peer", -1)});
    }
    file_.clear();
    file_.seekg(position_);
    return calls;
  }

 private:
  std::ifstream file_;
  std::streampos position_ = 0;  // behind the last whole line
};

std::string text_of(const NcclCall& call) {
  return fmt::format("{} of {} bytes{}", call.what, call.bytes,
                     call.peer < 0 ? "" : fmt::format(" with {}", call.peer));
}

Status compare(std::vector<NcclCall> calls, const std::vector<NcclGroupCalls>& expected) {
  auto next = calls.begin();
  for (NcclGroupCalls group : expected) {
    const auto count = std::min(std::ssize(group), calls.end() - next);
    std::sort(next, next + count);
    std::ranges::sort(group);
    for (size_t i = 0; i < group.size(); ++i, ++next) {
      if (next == calls.end()) return failed("{} is missing", text_of(group[i]));
      if (*next != group[i]) return failed("{} instead of {}", text_of(*next), text_of(group[i]));
    }
  }
  return next == calls.end() ? ok_status() : failed("{} more than expected", text_of(*next));
}

// [layer]: the choices of every rank of this rank's expert group, in its order.
std::vector<std::vector<int32_t>> share_choices(CommWorld& world, const Topology& topology, testing::Routing& routing) {
  std::vector<std::vector<int32_t>> choices;
  for (; !routing.empty(); routing.pop_front()) {
    const auto of_world = world.host().all_gather(std::as_bytes(std::span(routing.front().ids)));
    std::vector<int32_t>& all = choices.emplace_back();
    for (const int rank : make_rank_groups(topology, world.rank()).experts) {
      const std::vector<std::byte>& bytes = of_world[static_cast<size_t>(rank)];
      const size_t before = all.size();
      all.resize(before + bytes.size() / sizeof(int32_t));
      if (!bytes.empty()) std::memcpy(all.data() + before, bytes.data(), bytes.size());
    }
  }
  return choices;
}

struct Job {
  CommWorld& world;
  Backend& backend;
  testing::RecordingBackend& recording;  // on the same device
  testing::Routing& routing;             // what it has recorded
  const Checkpoint& checkpoint;
  Trace& trace;
};

// Adds what was executed to `num_calls`.
Status check_layout(Job& job, const Layout& layout, size_t& num_calls) {
  const ModelConfig& config = job.checkpoint.config();
  const bool sliced = layout.exchange == ExchangePolicy::kAllToAll;
  Backend& backend = sliced ? static_cast<Backend&>(job.recording) : job.backend;
  OCTET_ASSIGN_OR_RETURN(const auto model, Model::create(job.checkpoint, layout, backend, job.world));
  Tokens tokens = random_prompts(config.vocab_size);
  std::vector<int64_t> done(tokens.size(), 0);
  for (int step = 0; step <= kDecodeSteps; ++step) {
    job.trace.next();
    OCTET_RETURN_IF_ERROR(model->run(tokens, done).status());
    const std::vector<NcclCall> calls = job.trace.next();
    num_calls += calls.size();
    ExpectedCalls expected(config, layout.topology, job.world.rank());
    const StepPlan plan = plan_of(tokens, done, layout.topology);
    int64_t most_rows = 0;
    for (const GroupPlan& group : plan.groups) most_rows = std::max(most_rows, group.num_rows());
    const auto padded_rows = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(most_rows)));
    const Status same =
        compare(calls, sliced ? expected.of_sliced_step(plan, share_choices(job.world, layout.topology, job.routing))
                              : expected.of_replicated_step(plan, step == 0 ? 0 : padded_rows));
    if (!same.ok()) return failed("{}, step {}: {}", layout.text(), step, same.message());
    for (size_t s = 0; s < tokens.size(); ++s) {
      done[s] = std::ssize(tokens[s]);
      tokens[s].push_back(static_cast<TokenId>((step * 31 + static_cast<int>(s) * 7) % config.vocab_size));
    }
  }
  return ok_status();
}

Status run(const std::string& path, const char* trace_path) {
  OCTET_ASSIGN_OR_RETURN(std::unique_ptr<CommWorld> world, make_comm_world());
  const BackendOptions device{"cuda", 1, "", world->local_rank()};
  OCTET_ASSIGN_OR_RETURN(const auto backend, make_backend(device));
  OCTET_ASSIGN_OR_RETURN(auto recorded, make_backend(device));
  OCTET_ASSIGN_OR_RETURN(world, make_device_world(std::move(world), backend->memory_kind()));
  OCTET_ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::open(path));
  testing::Routing routing;
  testing::RecordingBackend recording(std::move(recorded), routing);
  Trace trace(trace_path);
  Job job{*world, *backend, recording, routing, checkpoint, trace};
  size_t num_calls = 0;
  for (const Layout& layout : layouts_of(world->size(), checkpoint.config(), true)) {
    OCTET_RETURN_IF_ERROR(agree(*world, check_layout(job, layout, num_calls)));
  }
  world->host().barrier();
  if (world->rank() == 0) std::filesystem::remove(trace_path);
  if (world->rank() == 0) std::printf("%zu operations of NCCL on rank 0, all as expected\n", num_calls);
  return num_calls > 0 ? ok_status() : failed("nothing was recorded: SOFTGPU_TRACE");
}

}  // namespace
}  // namespace octet

int main(int argc, char** argv) {
  const char* trace = std::getenv("SOFTGPU_TRACE");
  if (argc != 2 || trace == nullptr) return 1;
  const octet::Status status = octet::run(argv[1], trace);
  if (!status.ok()) std::fprintf(stderr, "rank %d: %s\n", octet::launched_rank(), status.message().c_str());
  return status.exit_code();
}
