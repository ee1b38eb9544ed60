#include "comm/nccl_comm.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "comm/agreement.h"
#include "comm/nccl_context.h"
#include "comm/nccl_group.h"
#include "runtime/base/check.h"
#include "runtime/base/pack.h"

namespace octet {
namespace {

// What ranks must have alike, and what each must have for itself.
struct RankDevice {
  std::string host;
  std::string kind;  // "NVIDIA H100 80GB HBM3 (compute capability 9.0)"
  std::string id;    // of the one GPU
  int index = 0;     // in this process
  uint64_t nccl_version = 0;
  uint64_t num_visible = 0;  // GPUs that the process sees
};

std::string version_text(uint64_t version) {
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

Result<RankDevice> own_device(const CommWorld& world) {
  int device = 0, num_visible = 0, version = 0;
  cudaDeviceProp properties{};
  cudaError_t error = cudaGetDeviceCount(&num_visible);
  if (error == cudaSuccess) error = cudaGetDevice(&device);
  if (error == cudaSuccess) error = cudaGetDeviceProperties(&properties, device);
  if (error != cudaSuccess) return failed("the GPU cannot be asked: {}", cudaGetErrorString(error));
  if (const ncclResult_t result = ncclGetVersion(&version); result != ncclSuccess) {
    return failed("NCCL cannot be asked for its version: {}", ncclGetErrorString(result));
  }
  return RankDevice{world.host_name(),
                    fmt::format("{} (compute capability {}.{})", properties.name, properties.major, properties.minor),
                    std::string(properties.uuid.bytes, sizeof(properties.uuid.bytes)),
                    device,
                    static_cast<uint64_t>(version),
                    static_cast<uint64_t>(num_visible)};
}

std::vector<RankDevice> gather_devices(CommWorld& world, const RankDevice& mine) {
  std::vector<RankDevice> devices;
  const auto packed =
      Packer().text(mine.host).text(mine.kind).text(mine.id).number(mine.nccl_version).number(mine.num_visible).bytes();
  for (const auto& message : world.host().all_gather(packed)) {
    Unpacker unpacker(message);
    RankDevice& device = devices.emplace_back();
    device.host = unpacker.text();
    device.kind = unpacker.text();
    device.id = unpacker.text();
    device.nccl_version = unpacker.number();
    device.num_visible = unpacker.number();
  }
  return devices;
}

// The same answer on every rank, for all see the same.
Status check_devices(const std::vector<RankDevice>& devices) {
  for (size_t rank = 0; rank < devices.size(); ++rank) {
    const RankDevice &device = devices[rank], &first = devices[0];
    for (size_t other = 0; other < rank; ++other) {
      if (devices[other].host != device.host || devices[other].id != device.id) continue;
      return invalid_input(
          "ranks {} and {} share a GPU: host {} runs {} ranks and shows them {} GPU{}; start one a GPU", other, rank,
          device.host, std::ranges::count(devices, device.host, &RankDevice::host), device.num_visible,
          device.num_visible == 1 ? "" : "s");
    }
    if (device.kind != first.kind) {
      return invalid_input("rank {} (host {}) has a {}, rank 0 (host {}) a {}: all ranks of a job need the same", rank,
                           device.host, device.kind, first.host, first.kind);
    }
    if (device.nccl_version != first.nccl_version) {
      return invalid_input("rank {} (host {}) has NCCL {}, rank 0 (host {}) NCCL {}: all ranks of a job need the same",
                           rank, device.host, version_text(device.nccl_version), first.host,
                           version_text(first.nccl_version));
    }
  }
  return ok_status();
}

class NcclWorld final : public CommWorld {
 public:
  NcclWorld(std::unique_ptr<CommWorld> base, int device)
      : base_(std::move(base)), context_(device, base_->progress(), [this](const Status& status) { fail(status); }) {}

  int rank() const override { return base_->rank(); }
  int size() const override { return base_->size(); }
  int local_rank() const override { return base_->local_rank(); }
  int local_size() const override { return base_->local_size(); }
  const std::string& host_name() const override { return base_->host_name(); }
  HostComm& host() override { return base_->host(); }
  CommProgress& progress() override { return base_->progress(); }

  std::unique_ptr<DeviceComm> make_group(std::span<const int> ranks) override {
    const auto mine = std::ranges::find(ranks, rank());
    OCTET_CHECK(mine != ranks.end(), "rank {} makes a group that it is not in", rank());
    if (ranks.size() == 1) return make_cuda_group_of_one(context_);
    const int index = static_cast<int>(mine - ranks.begin());
    CommProgress::Group& group = progress().add_group(ranks);
    auto communicator = find_communicator(ranks);
    if (communicator == nullptr) communicator = connect(ranks, index, group);
    return make_nccl_group(context_, std::move(communicator), group, index, static_cast<int>(ranks.size()));
  }

  void wait(Stream& stream) override {
    context_.wait(stream, [this] { check_communicators(); });
  }

  void abort() override {
    context_.stop();
    const std::lock_guard lock(mutex_);
    for (auto& [ranks, communicator] : communicators_) communicator->abort();
  }

 private:
  // Of a group with the same members, if there is one: communicators take memory and time, and on one stream calls of
  // several groups follow one another anyway. All members have made the same groups, so all find one or none does.
  std::shared_ptr<NcclCommunicator> find_communicator(std::span<const int> ranks) {
    const std::lock_guard lock(mutex_);
    const auto found = communicators_.find(std::vector<int>(ranks.begin(), ranks.end()));
    return found == communicators_.end() ? nullptr : found->second;
  }

  // The group's first rank draws the id; it travels among the members over the transport below.
  std::shared_ptr<NcclCommunicator> connect(std::span<const int> ranks, int index, CommProgress::Group& group) {
    context_.use_device();
    const std::string what = fmt::format("making a communicator of {} ranks", ranks.size());
    ncclUniqueId id{};
    if (index == 0) context_.check(ncclGetUniqueId(&id), what);
    const auto messenger = base_->make_group(ranks);
    const bool sends = index == 0;
    std::vector<ncclUniqueId> ids(sends ? ranks.size() : 1, id);
    const TensorView sent{ids.data(), DType::kI8, {sends ? std::ssize(ranks) : 0, sizeof(ncclUniqueId)}};
    const TensorView received{&id, DType::kI8, {1, sizeof(ncclUniqueId)}};
    std::vector<int64_t> send_rows(ranks.size(), sends ? 1 : 0), receive_rows(ranks.size(), 0);
    receive_rows[0] = 1;
    HostStream stream;
    messenger->all_to_all_v(sent, send_rows, received, receive_rows, stream);
    const CollectiveScope scope(progress(), group, CollectiveKind::kConnect, 0, static_cast<int>(ranks.size()) - 1);
    ncclComm_t comm = nullptr;
    context_.check(ncclCommInitRank(&comm, static_cast<int>(ranks.size()), id, index), what);
    const std::lock_guard lock(mutex_);
    auto communicator = std::make_shared<NcclCommunicator>(comm);
    communicators_.emplace(std::vector<int>(ranks.begin(), ranks.end()), communicator);
    return communicator;
  }

  void check_communicators() {
    for (const auto& [ranks, communicator] : communicators_) {
      ncclResult_t error = ncclSuccess;
      ncclResult_t asked = ncclCommGetAsyncError(communicator->get(), &error);
      if (asked == ncclSuccess) asked = error;
      if (asked != ncclSuccess) context_.check(asked, context_.queue().describe_oldest());
    }
  }

  std::unique_ptr<CommWorld> base_;
  NcclContext context_;
  std::mutex mutex_;  // guards the map against abort(), which another thread calls
  std::map<std::vector<int>, std::shared_ptr<NcclCommunicator>> communicators_;
};

}  // namespace

Result<std::unique_ptr<CommWorld>> make_nccl_world(std::unique_ptr<CommWorld> base) {
  const Result<RankDevice> mine = own_device(*base);
  if (base->size() > 1) OCTET_RETURN_IF_ERROR(agree(*base, mine.status()));
  OCTET_RETURN_IF_ERROR(mine.status());
  if (base->size() > 1) OCTET_RETURN_IF_ERROR(check_devices(gather_devices(*base, *mine)));
  return std::unique_ptr<CommWorld>(std::make_unique<NcclWorld>(std::move(base), mine->index));
}

}  // namespace octet
