#include "comm/local_world.h"

#include <unistd.h>

#include <array>

#include "comm/local_comm.h"
#include "runtime/base/check.h"

namespace octet {

std::string local_host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "localhost";
}

LocalWorld::LocalWorld() : host_name_(local_host_name()) {}

std::unique_ptr<DeviceComm> LocalWorld::make_group(std::span<const int> ranks) {
  OCTET_CHECK(ranks.size() == 1 && ranks[0] == 0, "{} ranks of a world of one", ranks.size());
  return std::make_unique<LocalComm>();
}

void LocalWorld::LocalHostComm::broadcast(std::vector<std::byte>&, int root) { OCTET_CHECK(root == 0); }

std::vector<std::vector<std::byte>> LocalWorld::LocalHostComm::gather(std::span<const std::byte> mine, int root) {
  OCTET_CHECK(root == 0);
  return {{mine.begin(), mine.end()}};
}

}  // namespace octet
