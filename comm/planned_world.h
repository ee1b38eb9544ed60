// PlannedWorld: the ranks of a job that is not there, as one of them sees it. Its communicators know their ranks and
// what sums they have; nothing travels: collectives are failed checks.
#pragma once

#include "comm/comm_world.h"

namespace octet {

class PlannedWorld final : public CommWorld {
 public:
  // memory: of the ranks' devices, which decides on the transport.
  PlannedWorld(int rank, int size, MemoryKind memory) : host_(rank, size), memory_(memory) {}

  int rank() const override { return host_.rank(); }
  int size() const override { return host_.size(); }
  int local_rank() const override { return rank(); }
  int local_size() const override { return size(); }
  const std::string& host_name() const override { return host_name_; }
  HostComm& host() override { return host_; }
  CommProgress& progress() override { return progress_; }
  std::unique_ptr<DeviceComm> make_group(std::span<const int> ranks) override;

 private:
  class PlannedHostComm final : public HostComm {
   public:
    PlannedHostComm(int rank, int size) : rank_(rank), size_(size) {}
    int rank() const override { return rank_; }
    int size() const override { return size_; }
    void broadcast(std::vector<std::byte>& data, int root) override;
    std::vector<std::vector<std::byte>> gather(std::span<const std::byte> mine, int root) override;

   private:
    int rank_, size_;
  };

  PlannedHostComm host_;
  MemoryKind memory_;
  std::string host_name_ = "planned";
  CommProgress progress_;
};

}  // namespace octet
