// What the devices of this machine are, for people: no handle of any device library is in here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace octet {

struct GpuFacts {
  std::string name;  // "NVIDIA H100 80GB HBM3"
  int compute_major = 0;
  int compute_minor = 0;
  int num_multiprocessors = 0;
  int64_t memory_bytes = 0;
  int64_t free_bytes = 0;            // now
  double read_bytes_per_second = 0;  // that memory's clock and width allow; 0: the driver does not say
  std::vector<int> peers;            // GPUs whose memory it can reach itself, by index
};

struct DeviceProbe {
  bool built_in = false;        // whether this build has code for GPUs at all
  std::string driver_version;   // the newest CUDA that the driver serves, as "12.4"; empty: there is no driver
  std::string library_version;  // of the CUDA runtime in this build
  std::vector<GpuFacts> gpus;   // by index
  std::string problem;          // why there are none, in the device library's words; empty: nothing is wrong
};

// Asking a GPU what is free gives it a context, which takes some of its memory until the process ends.
DeviceProbe probe_devices();

}  // namespace octet
