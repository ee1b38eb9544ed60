// The integer dot products whose speed is a ceiling: that each computes what its instructions are for, and that the
// machine's are found.
#include "bench/ceilings.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <iterator>
#include <random>
#include <sstream>

#include "runtime/base/kernel_files.h"

namespace octet {
namespace {

std::vector<Isa> isas() {
  std::vector<Isa> found;
  for (const char* name : {"avx2", "avx512"}) {
    if (auto isa = find_isa(name); isa.ok()) found.push_back(std::move(isa).value());
  }
  return found;
}

std::vector<Int8Instructions> all_int8() {
  std::vector<Int8Instructions> all;
  for (const Isa& isa : isas()) all.insert(all.end(), isa.int8.begin(), isa.int8.end());
  return all;
}

// What one 32-bit lane gets from four bytes of each.
int32_t dot(const uint8_t* a, const int8_t* b, bool saturates_pairs) {
  const auto pair = [&](int i) {
    const int32_t sum = a[i] * b[i] + a[i + 1] * b[i + 1];
    return saturates_pairs ? std::clamp(sum, -32768, 32767) : sum;
  };
  return pair(0) + pair(2);
}

// Bytes of one register each: any, with the extremes among them.
struct Bytes {
  explicit Bytes(int size, std::mt19937& random) : a(static_cast<size_t>(size)), b(a.size()) {
    for (uint8_t& byte : a) byte = random() % 4 == 0 ? 255 : static_cast<uint8_t>(random());
    for (int8_t& byte : b) byte = static_cast<int8_t>(random() % 4 == 0 ? (random() % 2 == 0 ? -128 : 127) : random());
  }
  std::vector<uint8_t> a;
  std::vector<int8_t> b;
};

TEST(Int8Loops, ComputeTheDotProductsThatTheyCount) {
  std::mt19937 random(7);
  for (const Int8Instructions& int8 : all_int8()) {
    const auto lanes = static_cast<size_t>(int8.register_bytes / 4);
    int cut_off = 0;
    for (int round = 0; round < 200; ++round) {
      const int64_t iterations = round % 5;
      const Bytes bytes(int8.register_bytes, random);
      std::vector<int32_t> sums(kInt8Chains * lanes);
      for (int32_t& sum : sums) sum = static_cast<int32_t>(random() % 2'000'000) - 1'000'000;
      std::vector<int32_t> expected = sums;
      for (size_t i = 0; i < sums.size(); ++i) {
        const size_t at = i % lanes * 4;
        const int32_t product = dot(&bytes.a[at], &bytes.b[at], int8.saturates_pairs);
        cut_off += product != dot(&bytes.a[at], &bytes.b[at], false) ? 1 : 0;
        expected[i] += static_cast<int32_t>(iterations) * product;
      }
      EXPECT_EQ(int8.loop(bytes.a.data(), bytes.b.data(), iterations, sums.data()),
                iterations * kInt8Chains * int8.register_bytes * 2);
      ASSERT_EQ(sums, expected) << int8.name << ", round " << round;
    }
    EXPECT_EQ(cut_off > 0, int8.saturates_pairs) << int8.name;  // the inputs tell both kinds apart
  }
}

// The kernel of the operating system has looked, too.
TEST(Int8Loops, AreThoseWhoseInstructionsTheMachineHas) {
  std::istringstream flags(KernelFiles().field("proc/cpuinfo", "flags").value_or(""));
  const std::vector<std::string> has(std::istream_iterator<std::string>(flags), {});
  for (const Isa& isa : isas()) {
    std::vector<std::string_view> expected = {"avx512bw", "avx512_vnni"};
    if (isa.name == "avx2") expected = {"avx2", "avx_vnni"};
    std::erase_if(expected, [&](std::string_view name) { return std::ranges::find(has, name) == has.end(); });
    std::vector<std::string_view> found;
    for (const Int8Instructions& int8 : isa.int8) found.push_back(int8.name);
    EXPECT_EQ(found, expected) << isa.name;
  }
}

TEST(Ceilings, HaveAFigureForEachOfTheInstructionSetsInt8Instructions) {
  ThreadPool pool(1);
  for (const Isa& isa : isas()) {
    CeilingProbe probe(isa, pool, BenchClock::kWall, int64_t{16} << 20);
    const Ceilings ceilings = median_ceilings(probe, 1);
    ASSERT_EQ(ceilings.int8.size(), isa.int8.size());
    double best = 0;
    for (size_t i = 0; i < isa.int8.size(); ++i) {
      EXPECT_EQ(ceilings.int8[i].instructions, isa.int8[i].name);
      EXPECT_GT(ceilings.int8[i].operations_per_second, 1e8);
      best = std::max(best, ceilings.int8[i].operations_per_second);
    }
    EXPECT_EQ(ceilings.int8_operations_per_second(), best);
  }
}

TEST(Ceilings, TheBestInt8FigureIsTold) {
  const Ceilings ceilings{2e9, 3e9, {{"one", 4e9}, {"other", 5e9}}};
  const auto json = ceilings_json(ceilings, 2);
  EXPECT_EQ(json["int8_gop_s"], 5);
  EXPECT_EQ(json["int8_gop_s_of"]["one"], 4);
  EXPECT_EQ(ceilings_json({}, 1)["int8_gop_s"], 0);
}

}  // namespace
}  // namespace octet
