// How many KV pages there are, and what is said when a model does not fit its device.
#include "runtime/session/kv_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace octet {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int64_t kGigabyte = 1'000'000'000;

KvBudget gpu_budget() {
  return {.available = 80 * kGigabyte,
          .is_devices_own = true,
          .weight_bytes = 60 * kGigabyte,
          .workspace_bytes = 1 * kGigabyte,
          .page_bytes = kGigabyte / 100,
          .wanted_pages = 10'000,
          .requested_kv_bytes = 0,
          .num_ranks = 1};
}

TEST(KvBudget, ADeviceGivesPagesWhatTheModelLeaves) {
  KvBudget budget = gpu_budget();
  EXPECT_EQ(choose_pages(budget).value(), 1500);  // 80 - 4 - 60 - 1 GB
  budget.wanted_pages = 7;
  EXPECT_EQ(choose_pages(budget).value(), 7);
}

TEST(KvBudget, AHostGivesAQuarterAtMostAndWhatTheModelLeaves) {
  KvBudget budget = gpu_budget();
  budget.is_devices_own = false;
  budget.weight_bytes = 10 * kGigabyte;
  EXPECT_EQ(choose_pages(budget).value(), 2000);
  budget.weight_bytes = 60 * kGigabyte;
  EXPECT_EQ(choose_pages(budget).value(), 1494);  // 80 - 4 - 60 - 1 GB, and 50 MB for the program
  budget.weight_bytes = 76 * kGigabyte;
  EXPECT_THAT(choose_pages(budget).status().message(), AllOf(HasSubstr("76.0 GB"), HasSubstr("80.0 GB free")));
  budget.available = 0;  // not known
  EXPECT_EQ(choose_pages(budget).value(), 1);
}

TEST(KvBudget, AHostRefusesWhatItDoesNotHave) {
  KvBudget budget = gpu_budget();
  budget.is_devices_own = false;
  budget.bound = "control group /batch/job";
  budget.requested_kv_bytes = int64_t{20} << 40;
  const Status status = choose_pages(budget).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidInput);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("22.0 TB"), HasSubstr("control group /batch/job has 80.0 GB free"),
                                      HasSubstr("-kv-cache 14")));
  budget.requested_kv_bytes = 14 * kGigabyte;
  EXPECT_EQ(choose_pages(budget).value(), 1400);
}

TEST(KvBudget, WhatNoNumberOfRanksHelpsIsNotAdvised) {
  KvBudget budget = gpu_budget();
  budget.workspace_bytes = 79 * kGigabyte;
  EXPECT_THAT(choose_pages(budget).status().message(), HasSubstr("no number of ranks"));
}

TEST(KvBudget, ARequestIsTakenWhereItFits) {
  KvBudget budget = gpu_budget();
  budget.requested_kv_bytes = kGigabyte;
  EXPECT_EQ(choose_pages(budget).value(), 100);
  budget.requested_kv_bytes = 16 * kGigabyte;
  const Status status = choose_pages(budget).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidInput);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("60.0 GB"), HasSubstr("16.0 GB"), HasSubstr("80.0 GB free"),
                                      HasSubstr("--kv-cache 14305M")));
  budget.requested_kv_bytes = 1;
  EXPECT_THAT(choose_pages(budget).status().message(), HasSubstr("--kv-cache 1:"));
}

TEST(KvBudget, AModelThatDoesNotFitIsToldHowManyRanksWould) {
  KvBudget budget = gpu_budget();
  budget.weight_bytes = 94 * kGigabyte;
  const Status status = choose_pages(budget).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidInput);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("94.0 GB"), HasSubstr("80.0 GB free"), HasSubstr("about 2 ranks")));
  budget.weight_bytes = 290 * kGigabyte;
  EXPECT_THAT(choose_pages(budget).status().message(), HasSubstr("about 4 ranks"));
}

}  // namespace
}  // namespace octet
