#include "comm/planned_world.h"

#include <algorithm>
#include <cstdlib>

#include "comm/local_comm.h"
#include "runtime/base/check.h"

namespace octet {
namespace {

[[noreturn]] void refuse() {
  OCTET_CHECK(false, "nothing travels among planned ranks");
  std::abort();
}

class PlannedReducer final : public Reducer {
 public:
  void all_reduce(TensorView, Stream&) override { refuse(); }
  TensorView reduce_scatter(TensorView, std::span<const int64_t>, Stream&) override { refuse(); }
};

class PlannedComm final : public DeviceComm {
 public:
  PlannedComm(int rank, int size, MemoryKind memory) : rank_(rank), size_(size), memory_(memory) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void all_gather_v(TensorView, std::span<const int64_t>, TensorView, Stream&) override { refuse(); }
  void all_to_all_v(TensorView, std::span<const int64_t>, TensorView, std::span<const int64_t>, Stream&) override {
    refuse();
  }
  // NCCL has sums of its own, transports of host memory have none.
  std::unique_ptr<Reducer> make_reducer() override {
    return memory_ == MemoryKind::kCuda ? std::make_unique<PlannedReducer>() : nullptr;
  }

 private:
  int rank_, size_;
  MemoryKind memory_;
};

}  // namespace

std::unique_ptr<DeviceComm> PlannedWorld::make_group(std::span<const int> ranks) {
  if (ranks.size() == 1) return std::make_unique<LocalComm>();
  const auto me = std::ranges::find(ranks, rank());
  OCTET_CHECK(me != ranks.end(), "rank {} is not in its group", rank());
  return std::make_unique<PlannedComm>(static_cast<int>(me - ranks.begin()), static_cast<int>(ranks.size()), memory_);
}

void PlannedWorld::PlannedHostComm::broadcast(std::vector<std::byte>&, int) { refuse(); }

std::vector<std::vector<std::byte>> PlannedWorld::PlannedHostComm::gather(std::span<const std::byte>, int) { refuse(); }

}  // namespace octet
