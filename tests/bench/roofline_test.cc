// The bound of a step against figures worked out by hand for Mixtral 8x7B.
#include "bench/roofline.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "tests/bench/mixtral_config.h"

namespace octet {
namespace {

constexpr double kHidden = 4096;
constexpr double kExpert = 3 * 4096.0 * 14336;

std::map<std::string, KernelCost> kernels_of(const Topology& topology, RowLayoutKind layout, const CostedRows& step) {
  std::map<std::string, KernelCost> kernels;
  for (const KernelCost& kernel : step_kernels(mixtral_config(32), topology, layout, step, {})) {
    kernels[std::string(kernel.name)] = kernel;
  }
  return kernels;
}

const Topology kEight{.world = 8, .tp = 8, .dp = 1, .ep = 8, .etp = 1, .replicas = 1};

TEST(Roofline, KernelsOfADecodeStepOnEightRanks) {
  // 16 streams, 1023 tokens before: one KV head, an eighth of the head and one expert a rank.
  auto k = kernels_of(kEight, RowLayoutKind::kReplicated, decode_rows(mixtral_config(32), 16, 1023));
  EXPECT_DOUBLE_EQ(k["qkv"].bytes, 32 * 2 * kHidden * (512 + 2 * 128));
  EXPECT_DOUBLE_EQ(k["qkv"].operations, 16 * k["qkv"].bytes);
  EXPECT_DOUBLE_EQ(k["attention"].bytes, 32 * 16 * 1024 * 2 * 128 * 2.0);
  EXPECT_DOUBLE_EQ(k["attention"].operations, 32 * 16 * 1024 * 4 * 512.0);
  EXPECT_DOUBLE_EQ(k["output"].bytes, 32 * 2 * kHidden * 512);
  // 16 rows of which a quarter has this expert: it is read once; four rows are computed.
  EXPECT_NEAR(k["experts"].bytes, 32 * 2 * kExpert, 1);
  EXPECT_DOUBLE_EQ(k["experts"].operations, 32 * 2 * 4 * kExpert);
  EXPECT_DOUBLE_EQ(k["head"].bytes, 2 * 4000 * kHidden);
  // Two halves of an all-reduce in fp32 for attention, two for the weighted sums.
  EXPECT_DOUBLE_EQ(k["gather and reduce"].sent_bytes, 32 * 16 * 2 * 7 / 8.0 * 4 * kHidden);
  EXPECT_DOUBLE_EQ(k["exchange"].sent_bytes, 32 * 16 * 2 * 7 / 8.0 * 4 * kHidden);
}

TEST(Roofline, AllToAllSendsWhatTheFormulaSays) {
  // Each way (T/p)(p-1)(1 - C(7,2)/C(8,2)) rows of 8 KiB: a quarter of the others' rows.
  auto k = kernels_of(kEight, RowLayoutKind::kSliced, decode_rows(mixtral_config(32), 512, 0));
  EXPECT_NEAR(k["exchange"].sent_bytes, 32 * 2 * 512 / 8.0 * 7 * 0.25 * 8192, 1);
  EXPECT_DOUBLE_EQ(k["router"].operations, 32 * 2 * 64 * 8 * kHidden);  // of the rank's own rows
}

TEST(Roofline, ManyRowsOfSeveralGroupsMeetInTheExperts) {
  const Topology two_nodes{.world = 16, .tp = 8, .dp = 2, .ep = 8, .etp = 2, .replicas = 1};
  auto k = kernels_of(two_nodes, RowLayoutKind::kSliced, decode_rows(mixtral_config(32), 64, 0));
  EXPECT_DOUBLE_EQ(k["experts"].operations, 32 * 2 * (128 * 2 / 8) * kExpert / 2);
}

TEST(Roofline, OneRowReadsOneExpertWhereverItIs) {
  auto k = kernels_of(kEight, RowLayoutKind::kReplicated, decode_rows(mixtral_config(32), 1, 0));
  EXPECT_DOUBLE_EQ(k["experts"].bytes, 32 * 2 * kExpert);
}

TEST(Roofline, OneRankDoesTheWholeStep) {
  double bytes = 0, operations = 0;
  for (const auto& [name, kernel] :
       kernels_of(Topology(), RowLayoutKind::kReplicated, decode_rows(mixtral_config(32), 8, 100))) {
    bytes += kernel.bytes;
    operations += kernel.operations;
    EXPECT_EQ(kernel.sent_bytes, 0);
  }
  const StepCost cost = decode_cost(mixtral_config(32), 8, 100, 2, 2);
  EXPECT_NEAR(bytes, cost.bytes, 1e-9 * cost.bytes);
  EXPECT_NEAR(operations, cost.operations, 1e-9 * operations);
}

DeviceCeilings device() { return {"x", {}, 1000, 10000, 4, 100, 10, 0.5}; }

TEST(Roofline, EachKernelIsBoundByItsSlowestCeiling) {
  const Topology four{.world = 4, .tp = 4, .ep = 4};
  const StepBound bound = step_bound({{"a", 2, 3000, 10000, 0, 0},  // 3 s of memory, 1 s of arithmetic
                                      {"b", 1, 1000, 50000, 0, 0},  // 1 s, 5 s
                                      {"exchange", 1, 0, 0, 200, 1}},
                                     four, device());
  EXPECT_DOUBLE_EQ(bound.kernels[0].seconds(), 3);
  EXPECT_STREQ(bound.kernels[0].limit(), "memory");
  EXPECT_DOUBLE_EQ(bound.kernels[1].seconds(), 5);
  EXPECT_STREQ(bound.kernels[1].limit(), "arithmetic");
  EXPECT_DOUBLE_EQ(bound.kernels[2].seconds(), 2);
  EXPECT_STREQ(bound.kernels[2].limit(), "link");
  EXPECT_DOUBLE_EQ(bound.in_turn_seconds, 10);
  EXPECT_DOUBLE_EQ(bound.overlapped_seconds, 6);
  EXPECT_DOUBLE_EQ(bound.launch_seconds, 2);
}

TEST(Roofline, WhatLeavesTheNodeTakesTheNetwork) {
  // Eight ranks, four a node: 3 of 7 peers are near.
  const Topology eight{.world = 8, .tp = 4, .dp = 2, .ep = 8};
  const StepBound bound =
      step_bound({{"exchange", 1, 0, 0, 700, 1}, {"gather and reduce", 1, 0, 0, 700, 1}}, eight, device());
  EXPECT_DOUBLE_EQ(bound.kernels[0].link_seconds, 40);
  EXPECT_DOUBLE_EQ(bound.kernels[1].link_seconds, 7);
}

}  // namespace
}  // namespace octet
