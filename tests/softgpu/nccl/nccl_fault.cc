#include "tests/softgpu/nccl/nccl_fault.h"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string_view>

#include "tests/softgpu/base/common.h"

namespace octet::softgpu {
namespace {

struct Plan {
  int device = -1;  // all
  u64 number = 0;   // none
  Fault fault = Fault::kNone;
};

Plan read_plan() {
  const char* text = std::getenv("SOFTGPU_NCCL_FAULT");
  if (!text || !*text) return {};
  Plan plan;
  char kind[16] = "";
  long number = 0;
  if (std::sscanf(text, "%d:%ld:%15s", &plan.device, &number, kind) != 3) {
    plan.device = -1;
    if (std::sscanf(text, "%ld:%15s", &number, kind) != 2) number = 0;
  }
  const std::map<std::string_view, Fault> kinds = {{"internal", Fault::kInternal},
                                                   {"remote", Fault::kRemote},
                                                   {"system", Fault::kSystem},
                                                   {"stall", Fault::kStall},
                                                   {"kill", Fault::kKill}};
  const auto it = kinds.find(kind);
  if (number < 1 || it == kinds.end()) {
    std::fprintf(stderr,
                 "softgpu: SOFTGPU_NCCL_FAULT=%s is not [DEVICE:]NUMBER:KIND with a number from 1 and kind internal, "
                 "remote, system, stall or kill\n",
                 text);
    std::abort();
  }
  plan.number = u64(number);
  plan.fault = it->second;
  return plan;
}

}  // namespace

Fault next_fault(int device) {
  static const Plan plan = read_plan();
  static std::mutex mutex;
  static std::map<int, u64> executed;
  std::lock_guard lock(mutex);
  const u64 number = ++executed[device];
  return number == plan.number && (plan.device < 0 || plan.device == device) ? plan.fault : Fault::kNone;
}

}  // namespace octet::softgpu
