// A steady decode step allocates nothing: every allocation of this program is counted while the engine steps.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>

#include "runtime/engine/engine.h"
#include "tests/model/model_fixture.h"

extern "C" {
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* memory, size_t size);
void* __libc_memalign(size_t alignment, size_t size);
}

namespace {
std::atomic<int64_t> num_allocations{0};
}

// The C library's own entry points, which C++'s new ends up in, too.
extern "C" void* malloc(size_t size) {
  ++num_allocations;
  return __libc_malloc(size);
}
extern "C" void* calloc(size_t count, size_t size) {
  ++num_allocations;
  return __libc_calloc(count, size);
}
extern "C" void* realloc(void* memory, size_t size) {
  ++num_allocations;
  return __libc_realloc(memory, size);
}
extern "C" void* aligned_alloc(size_t alignment, size_t size) {
  ++num_allocations;
  return __libc_memalign(alignment, size);
}

namespace octet::testing {
namespace {

TEST(SteadyDecode, AllocatesNothing) {
  MixtralOptions options;
  options.max_logit_rows = 32;
  ModelOnOneRank model(demo_model(), {"cpu", 2, ""}, 32 * 256, options);
  Engine engine(model.model(), {.prefill_chunk = 512, .max_batch = 32});
  for (int i = 0; i < 8; ++i) {
    Request request;
    request.prompt.assign(static_cast<size_t>(3 + i), i + 5);
    request.params.sampling.temperature = 0;
    request.params.max_tokens = 60;
    RequestCallbacks callbacks;
    callbacks.on_token = [](const TokenEvent&) { return false; };
    callbacks.on_finish = [](const FinishEvent&) {};
    ASSERT_TRUE(engine.submit(std::move(request), std::move(callbacks)).ok());
  }
  for (int step = 0; step < 10; ++step) ASSERT_TRUE(engine.step().ok());  // prefill, and vectors growing to their size
  for (int step = 0; step < 20; ++step) {
    const int64_t before = num_allocations;
    const auto more = engine.step();
    EXPECT_EQ(num_allocations - before, 0) << "decode step " << step;
    ASSERT_TRUE(more.ok() && *more);
  }
}

}  // namespace
}  // namespace octet::testing
