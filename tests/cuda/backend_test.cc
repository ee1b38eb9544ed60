// What the CUDA backend says before anything runs on it.
#include <gmock/gmock.h>
#include <unistd.h>

#include "kernels/backend_factory.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/device_probe.h"
#include "runtime/base/log.h"
#include "runtime/base/process_end.h"
#include "tests/cuda/cuda_fixture.h"

namespace octet {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class CudaBackendTest : public CudaTest {};

TEST_F(CudaBackendTest, IsTheDefaultWhereAGpuIs) {
  EXPECT_THAT(std::string(make_backend({"", 1, ""}).value()->name()), StartsWith("cuda ("));
  EXPECT_EQ(make_backend({"", 1, isas().front()}).value()->name(), "cpu");
  EXPECT_THAT(make_backend({"cuda", 1, "avx2"}).status().message(), HasSubstr("--isa avx2"));
}

TEST_F(CudaBackendTest, TheProbeSeesWhatTheBackendRunsOn) {
  const DeviceProbe probe = probe_devices();
  EXPECT_TRUE(probe.built_in);
  EXPECT_EQ(probe.problem, "");
  EXPECT_THAT(probe.library_version, ::testing::MatchesRegex("[0-9]+\\.[0-9]+"));
  ASSERT_FALSE(probe.gpus.empty());
  const GpuFacts& gpu = probe.gpus.front();
  EXPECT_THAT(std::string(backend_->name()), HasSubstr(gpu.name));
  EXPECT_GE(gpu.compute_major, 8);
  EXPECT_GT(gpu.num_multiprocessors, 0);
  EXPECT_GT(gpu.free_bytes, 0);
  EXPECT_LE(gpu.free_bytes, gpu.memory_bytes);
}

TEST_F(CudaBackendTest, AGpuThatIsNotThereIsRefused) {
  const Status status = CudaBackend::create(1000).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidInput);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("--device cuda"), HasSubstr("GPU 1000")));
}

TEST_F(CudaBackendTest, ModelsThatItCannotRunAreRefusedByWhatHelps) {
  const ModelNeeds good{DType::kBF16, DType::kBF16, 128, 4};
  EXPECT_TRUE(backend_->check_model(good).ok());
  EXPECT_TRUE(backend_->check_model({DType::kF16, DType::kI8, 20, 1}).ok());
  const auto message = [&](const ModelNeeds& needs) {
    const Status status = backend_->check_model(needs);
    EXPECT_EQ(status.code(), StatusCode::kInvalidInput);
    return status.message();
  };
  EXPECT_THAT(message({DType::kF32, DType::kBF16, 128, 4}), HasSubstr("--weights bf16"));
  EXPECT_THAT(message({DType::kBF16, DType::kF32, 128, 4}), HasSubstr("--kv-dtype bf16"));
  EXPECT_THAT(message({DType::kBF16, DType::kBF16, 256, 4}), HasSubstr("256"));
  EXPECT_THAT(message({DType::kBF16, DType::kBF16, 128, 96}), HasSubstr("96"));
  EXPECT_EQ(backend_->default_kv_dtype(), DType::kBF16);
}

TEST_F(CudaBackendTest, WhatTheGpuHasNoMemoryForEndsTheProcessWithTheNumbers) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto allocate = [this] {
    OCTET_CHECK(init_log({.level = "error"}).ok());
    set_process_end(_exit);
    backend_->allocate(size_t{1} << 40);
  };
  EXPECT_EXIT(allocate(), ::testing::ExitedWithCode(1),
              "out of memory on GPU 0: 1099.512 GB more are needed, .* GB are free; a smaller --kv-cache");
}

TEST_F(CudaBackendTest, AvailableMemoryIsWhatAllocationsLeave) {
  constexpr size_t kBytes = size_t{64} << 20;
  const int64_t before = backend_->available_memory();
  Buffer buffer = backend_->allocate(kBytes);
  EXPECT_LE(backend_->available_memory(), before - static_cast<int64_t>(kBytes));
  buffer.reset();
  EXPECT_EQ(backend_->available_memory(), before);
}

}  // namespace
}  // namespace octet
