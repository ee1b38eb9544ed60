// What travels beside what: the order of the exchanges' work on their streams.
#include <gmock/gmock.h>

#include "comm/thread_comm.h"
#include "kernels/reference/reference_backend.h"
#include "parallel/expert_exchange_all_to_all.h"
#include "parallel/expert_exchange_replicated.h"
#include "parallel/expert_placement.h"

namespace octet {
namespace {

using Log = std::vector<std::string>;

class RecordingStream final : public Stream {
 public:
  RecordingStream(std::string name, Log& log) : name_(std::move(name)), log_(log) {}
  const std::string& name() const { return name_; }
  void synchronize() override { log_.push_back(name_ + " is waited for by the host"); }
  void wait_for(Stream& other) override {
    log_.push_back(name_ + " waits for " + static_cast<RecordingStream&>(other).name());
  }

 private:
  std::string name_;
  Log& log_;
};

// Every stream that it makes is called "beside".
class RecordingBackend final : public ReferenceBackend {
 public:
  explicit RecordingBackend(Log& log) : log_(log) {}
  std::unique_ptr<Stream> make_stream() override { return std::make_unique<RecordingStream>("beside", log_); }
  bool supports_capture() const override { return true; }

 private:
  Log& log_;
};

class RecordingComm final : public DeviceComm {
 public:
  RecordingComm(std::unique_ptr<DeviceComm> comm, Log& log) : comm_(std::move(comm)), log_(log) {}
  int rank() const override { return comm_->rank(); }
  int size() const override { return comm_->size(); }
  void all_gather_v(TensorView mine, std::span<const int64_t> rows, TensorView all, Stream& stream) override {
    log_.push_back("gather on " + static_cast<RecordingStream&>(stream).name());
    comm_->all_gather_v(mine, rows, all, stream);
  }
  void all_to_all_v(TensorView send, std::span<const int64_t> send_rows, TensorView receive,
                    std::span<const int64_t> receive_rows, Stream& stream) override {
    log_.push_back("all-to-all on " + static_cast<RecordingStream&>(stream).name());
    comm_->all_to_all_v(send, send_rows, receive, receive_rows, stream);
  }

 private:
  std::unique_ptr<DeviceComm> comm_;
  Log& log_;
};

// Of a rank of two dp groups with as many rows.
StepRows rows_of(RowLayoutKind layout, const Topology& topology, int rank, int64_t num_rows) {
  const std::vector<GroupRows> groups(2, {num_rows, {}});
  StepRows rows;
  StepRowsMaker(topology, rank).make_all(layout, groups, rows);
  return rows;
}

TEST(Overlap, RowsTravelBesideTheRouterAndNothingWaitsForTheHost) {
  const Topology topology{.world = 2, .tp = 1, .dp = 2, .ep = 2, .etp = 1, .replicas = 1};
  const Status status = ThreadWorld::run(2, [&](CommWorld& world) {
    Log log;
    RecordingBackend backend(log);
    ModelComms comms(world, topology);
    ReplicatedExpertExchange exchange(backend, comms, topology, {8, 2, 4, 8, place_experts_linear(8, 2)});
    comms.experts = std::make_unique<RecordingComm>(std::move(comms.experts), log);
    RecordingStream stream("main", log);
    const Tensor rows = Tensor::host(DType::kF32, {2, 4}), weights = Tensor::host(DType::kF32, {2, 2});
    const Tensor ids = Tensor::host(DType::kI32, {2, 2});
    for (int i = 0; i < 4; ++i) ids.view.as<int32_t>()[i] = i;
    const StepRows step = rows_of(RowLayoutKind::kReplicated, topology, world.rank(), 2);
    log.clear();
    exchange.announce(step, rows.view, stream);
    log.emplace_back("router");
    const Route route = exchange.dispatch(step, {rows.view, ids.view, weights.view}, stream);
    const Tensor y = Tensor::host(DType::kF32, {route.groups.assignment_row.num_elements(), 4});
    exchange.combine(step, route, y.view, rows.view, stream);
    EXPECT_THAT(log, testing::ElementsAre("beside waits for main", "gather on beside", "router",
                                          "main waits for beside", "gather on main", "gather on main"));
    return ok_status();
  });
  EXPECT_TRUE(status.ok()) << status.message();
}

// The host enqueues the product of the rows that stay before it waits for the choices, on the other stream.
TEST(Overlap, ChoicesAndRowsTravelBesideTheProductOfRowsThatStay) {
  const Topology topology{.world = 2, .tp = 1, .dp = 2, .ep = 2, .etp = 1, .replicas = 1};
  const Status status = ThreadWorld::run(2, [&](CommWorld& world) {
    Log log;
    RecordingBackend backend(log);
    ModelComms comms(world, topology);
    AllToAllExpertExchange exchange(backend, comms, topology,
                                    {8, 2, 4, 8, place_experts_linear(8, 2), DType::kF32, /*least_kept_rows=*/1});
    comms.experts = std::make_unique<RecordingComm>(std::move(comms.experts), log);
    RecordingStream stream("main", log);
    const Tensor rows = Tensor::host(DType::kF32, {4, 4}), weights = Tensor::host(DType::kF32, {4, 2});
    const Tensor ids = Tensor::host(DType::kI32, {4, 2}), y = Tensor::host(DType::kF32, {16, 4});
    for (int i = 0; i < 8; ++i) ids.view.as<int32_t>()[i] = i;
    const StepRows step = rows_of(RowLayoutKind::kSliced, topology, world.rank(), 4);
    log.clear();
    const auto kept = exchange.keep(step, {rows.view, ids.view, weights.view}, stream);
    EXPECT_TRUE(kept.has_value());
    log.emplace_back("product of what stays on main");
    const Route route = exchange.dispatch(step, {rows.view, ids.view, weights.view}, stream);
    log.emplace_back("product of what came on main");
    exchange.combine(step, route, y.view, rows.view, stream);
    EXPECT_THAT(log, testing::ElementsAre("beside waits for main", "gather on beside", "gather on beside",
                                          "product of what stays on main", "beside is waited for by the host",
                                          "all-to-all on beside", "main waits for beside",
                                          "product of what came on main", "all-to-all on main"));
    return ok_status();
  });
  EXPECT_TRUE(status.ok()) << status.message();
}

}  // namespace
}  // namespace octet
