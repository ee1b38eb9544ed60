#include "runtime/base/host_memory.h"

#include <fstream>
#include <string>

namespace octet {

int64_t available_host_memory() {
  std::ifstream meminfo("/proc/meminfo");
  for (std::string key; meminfo >> key;) {
    int64_t kilobytes = 0;
    meminfo >> kilobytes;
    if (key == "MemAvailable:") return kilobytes * 1024;
    std::string rest;
    std::getline(meminfo, rest);
  }
  return 0;
}

}  // namespace octet
