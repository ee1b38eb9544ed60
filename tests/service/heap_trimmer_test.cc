#include "runtime/service/heap_trimmer.h"

#include <unistd.h>

#include <array>
#include <memory>
#include <thread>
#include <vector>

#include "tests/service/process_figures.h"
#include "tests/service/serve_job.h"

namespace octet::testing {
namespace {

// What a thread has used and left, but for a block every megabyte that keeps the heap as large as it was.
TEST(HeapTrimmer, WhatIsFreeAmongWhatIsInUseGoesBack) {
  constexpr size_t kBlocks = 400'000, kKept = 4096;
  std::vector<std::unique_ptr<std::array<std::byte, 240>>> blocks(kBlocks);
  std::thread([&] {
    for (auto& block : blocks) block = std::make_unique<std::array<std::byte, 240>>();
  }).join();
  for (size_t i = 0; i < kBlocks; ++i) {
    if (i % kKept != kKept - 1) blocks[i].reset();
  }
  const int64_t kept = figures_of(::getpid()).resident_bytes;
  const HeapTrimmer trimmer(std::chrono::milliseconds(20));
  EXPECT_TRUE(comes_true([&] { return figures_of(::getpid()).resident_bytes < kept - (80 << 20); }));
}

}  // namespace
}  // namespace octet::testing
