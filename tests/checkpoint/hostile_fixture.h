// Tests of damaged checkpoints start here.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "runtime/checkpoint/checkpoint.h"
#include "tests/base/temp_folder.h"

namespace octet {

// A folder of its own for every test, in which a damaged checkpoint is written.
class HostileCheckpoint : public testing::Test {
 protected:
  // Opening the folder must fail with one line that contains `file` (a path's end) and `reason`.
  void expect_refused(const std::string& file, const std::string& reason) {
    const auto checkpoint = Checkpoint::open(folder_.path());
    ASSERT_FALSE(checkpoint.ok()) << "opened, but should have been refused: " << reason;
    EXPECT_EQ(checkpoint.status().code(), StatusCode::kInvalidInput);
    EXPECT_THAT(checkpoint.status().message(),
                testing::AllOf(testing::HasSubstr((folder_ / file).string()), testing::HasSubstr(reason),
                               testing::Not(testing::HasSubstr("\n"))));
    EXPECT_LT(checkpoint.status().message().size(), 1000U);
  }

  static constexpr const char* kWeights = "model.safetensors";
  TempFolder folder_;
};

}  // namespace octet
