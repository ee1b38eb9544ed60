// The world of a process that runs alone: one rank, no transport.
#pragma once

#include "comm/comm_world.h"

namespace octet {

class LocalWorld final : public CommWorld {
 public:
  LocalWorld();

  int rank() const override { return 0; }
  int size() const override { return 1; }
  int local_rank() const override { return 0; }
  int local_size() const override { return 1; }
  const std::string& host_name() const override { return host_name_; }
  HostComm& host() override { return host_; }
  CommProgress& progress() override { return progress_; }
  std::unique_ptr<DeviceComm> make_group(std::span<const int> ranks) override;

 private:
  class LocalHostComm final : public HostComm {
   public:
    int rank() const override { return 0; }
    int size() const override { return 1; }
    void broadcast(std::vector<std::byte>& data, int root) override;
    std::vector<std::vector<std::byte>> gather(std::span<const std::byte> mine, int root) override;
  };

  std::string host_name_;
  LocalHostComm host_;
  CommProgress progress_;
};

// This machine's name.
std::string local_host_name();

}  // namespace octet
