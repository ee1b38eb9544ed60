// Rank processes of one NCCL communicator.
#pragma once

#include <nccl.h>

#include "tests/softgpu/test/check.h"
#include "tests/softgpu/test/processes/children.h"

inline constexpr int kRanks = 4;

#define NCCL(call)                                                                            \
  do {                                                                                        \
    const ncclResult_t result_ = (call);                                                      \
    if (result_ != ncclSuccess) {                                                             \
      std::printf("%s:%d: %s: %s\n", __FILE__, __LINE__, #call, ncclGetErrorString(result_)); \
      std::exit(1);                                                                           \
    }                                                                                         \
  } while (0)

// Runs body(rank, communicator id) in kRanks processes.
inline std::vector<Child> run_ranks(const Environment& environment,
                                    const std::function<void(int, ncclUniqueId)>& body) {
  ncclUniqueId id;
  NCCL(ncclGetUniqueId(&id));
  return run_children(kRanks, environment, [&](int rank) { body(rank, id); });
}

inline void expect_all_pass(const std::vector<Child>& ranks) {
  for (const Child& rank : ranks) EXPECT_TRUE(rank.passed()) << rank.status << '\n' << rank.output;
}
