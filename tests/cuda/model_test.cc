// The whole model on the CUDA backend, along the tokens that the cpu backend chooses with the same weights (in 16 bits)
// and the same KV dtype.
//
// Tolerances say by how much logits may differ, relative to the largest logit of the sequence, where rows go to the
// same experts. The cpu's token must be chosen unless its margin is below twice that, and so must the cpu's experts.
// bf16 has eight bits, fp16 eleven (but attention of prompts works in bf16 either way); random weights average errors
// out less than trained ones do (octet-demo).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>

#include "kernels/cuda/cuda_backend.h"
#include "tests/cuda/shared_routing.h"
#include "tests/cuda/softgpu_counts.h"
#include "tests/model/model_fixture.h"

namespace octet::testing {
namespace {

constexpr float kRandomBf16 = 4e-2F;
constexpr float kRandomF16 = 1.5e-2F;
constexpr float kDemo = 5e-3F;

using Logits = std::vector<std::vector<float>>;

MixtralOptions options_with(DType weights) {
  MixtralOptions options;
  options.kv_dtype = DType::kBF16;
  options.load.format = weights;
  return options;
}

float largest_of(const Logits& rows) {
  float largest = 0;
  for (const auto& row : rows) {
    for (const float v : row) largest = std::max(largest, std::abs(v));
  }
  return largest;
}

int64_t best_of(const std::vector<float>& row) { return std::max_element(row.begin(), row.end()) - row.begin(); }

// By how much the best logit leads.
float margin_of(const std::vector<float>& row) {
  std::vector<float> sorted = row;
  std::partial_sort(sorted.begin(), sorted.begin() + 2, sorted.end(), std::greater<>());
  return sorted[0] - sorted[1];
}

// Prompts of a folder of golden outputs.
std::vector<std::vector<TokenId>> prompts_of(const std::string& name) {
  std::ifstream stream(golden_dir() / name / "prompts.json");
  std::vector<std::vector<TokenId>> prompts;
  const auto file = nlohmann::json::parse(stream);
  for (const auto& prompt : file.at("prompts")) prompts.push_back(prompt.at("ids"));
  return prompts;
}

// Logits of every position: the prompt in chunks, then token by token.
Logits run_along(ModelOnOneRank& model, const std::vector<TokenId>& ids, int64_t prompt, int64_t chunk) {
  std::vector<int64_t> positions(ids.size());
  std::iota(positions.begin(), positions.end(), 0);
  Logits rows;
  const auto size = static_cast<int64_t>(ids.size());
  for (int64_t begin = 0; begin < size;) {
    const int64_t end = begin < prompt ? std::min(begin + chunk, prompt) : begin + 1;
    for (auto& row : model.run_chunk(ids, begin, end, positions)) rows.push_back(std::move(row));
    begin = end;
  }
  return rows;
}

void expect_agree(const Logits& cpu, const Logits& cuda, float tolerance) {
  ASSERT_EQ(cpu.size(), cuda.size());
  const float allowed = tolerance * largest_of(cpu);
  float largest = 0;
  for (size_t r = 0; r < cpu.size(); ++r) {
    for (size_t i = 0; i < cpu[r].size(); ++i) {
      const float difference = std::abs(cpu[r][i] - cuda[r][i]);
      ASSERT_LE(difference, allowed) << "position " << r << ", token " << i;
      largest = std::max(largest, difference);
    }
    if (margin_of(cpu[r]) >= 2 * allowed) {
      EXPECT_EQ(best_of(cuda[r]), best_of(cpu[r])) << "position " << r;
    }
  }
  std::printf("largest difference %.1e of the largest logit\n", static_cast<double>(largest / largest_of(cpu)));
}

struct Case {
  std::string name;
  DType weights;
  float tolerance;
};

void PrintTo(const Case& test, std::ostream* out) { *out << test.name << " in " << dtype_name(test.weights); }

class CudaModelTest : public ::testing::TestWithParam<Case> {};

TEST_P(CudaModelTest, LogitsAgreeAlongTheCpusTokens) {
  const Case& test = GetParam();
  const auto path = golden_checkpoint(test.name);
  Routing routing;
  ModelOnOneRank cpu(path, std::make_unique<RecordingBackend>(backend_of({"cpu", 1, ""}), routing), 512,
                     options_with(test.weights));
  auto following = std::make_unique<FollowingBackend>(backend_of({"cuda", 0, ""}), routing);
  const FollowingBackend& cuda_routing = *following;
  ModelOnOneRank cuda(path, std::move(following), 512, options_with(test.weights));
  for (auto ids : prompts_of(test.name)) {
    const auto prompt = static_cast<int64_t>(ids.size());
    constexpr size_t kGenerated = 6;
    const auto generated = cpu.greedy(ids, kGenerated);
    ids.insert(ids.end(), generated.begin(), generated.end());
    routing.clear();
    constexpr int64_t kChunk = 40;
    const Logits expected = run_along(cpu, ids, prompt, kChunk);
    expect_agree(expected, run_along(cuda, ids, prompt, kChunk), test.tolerance);
  }
  std::printf("%lld rows would have gone to other experts, largest margin %.1e\n",
              static_cast<long long>(cuda_routing.num_turned()),
              static_cast<double>(cuda_routing.largest_turned_margin()));
  EXPECT_LE(cuda_routing.largest_turned_margin(), 2 * test.tolerance);
}

TEST_P(CudaModelTest, TheSameStepsGiveTheSameBits) {
  const Case& test = GetParam();
  const auto path = golden_checkpoint(test.name);
  ModelOnOneRank model(path, {"cuda", 0, ""}, 512, options_with(test.weights));
  std::vector<TokenId> ids = prompts_of(test.name).front();
  ids.resize(std::min<size_t>(ids.size(), 24));
  const auto prompt = std::max<int64_t>(std::ssize(ids) - 4, 1);
  EXPECT_EQ(run_along(model, ids, prompt, 13), run_along(model, ids, prompt, 13));
}

// One row a step is captured and replayed.
TEST_P(CudaModelTest, CapturedStepsAgreeWithStepsAsTheyCome) {
  const Case& test = GetParam();
  const auto path = golden_checkpoint(test.name);
  MixtralOptions options = options_with(test.weights);
  ModelOnOneRank captured(path, {"cuda", 0, ""}, 512, options);
  options.graphs = false;
  ModelOnOneRank plain(path, {"cuda", 0, ""}, 512, options);
  std::vector<TokenId> ids = prompts_of(test.name).front();
  ids.resize(std::min<size_t>(ids.size(), 24));
  const auto prompt = std::max<int64_t>(std::ssize(ids) - 8, 1);
  expect_agree(run_along(plain, ids, prompt, 512), run_along(captured, ids, prompt, 512), test.tolerance);
}

std::string case_name(const ::testing::TestParamInfo<Case>& test) {
  std::string name = test.param.name + "_in_" + std::string(dtype_name(test.param.weights));
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

constexpr DType kBF16 = DType::kBF16;
constexpr DType kF16 = DType::kF16;
INSTANTIATE_TEST_SUITE_P(Goldens, CudaModelTest,
                         ::testing::Values(Case{"plain-f32", kBF16, kRandomBf16}, Case{"plain-f32", kF16, kRandomF16},
                                           Case{"odd-bf16-sharded", kBF16, kRandomBf16},
                                           Case{"odd-bf16-sharded", kF16, kRandomF16},
                                           Case{"fused-f16", kF16, kRandomF16}, Case{"native-bf16", kBF16, kRandomBf16},
                                           Case{"window-bf16", kBF16, kRandomBf16},
                                           Case{"six-experts-top3-tied", kBF16, kRandomBf16},
                                           Case{"kv8-bf16", kBF16, kRandomBf16}, Case{"kv6-bf16", kBF16, kRandomBf16},
                                           Case{"octet-demo", kBF16, kDemo}),
                         case_name);

// Tells every product how many rows each expert has, as an all-to-all does.
class CountedBackend final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void grouped_gemm(TensorView x, const ExpertGroups& groups, const WeightGroup& experts, TensorView y,
                    Stream& stream) override {
    std::vector<int32_t> offsets(experts.weights.size() + 1);
    download(groups.offsets, offsets.data(), stream);
    stream.synchronize();
    ExpertGroups counted = groups;
    counted.host_offsets = offsets;
    inner().grouped_gemm(x, counted, experts, y, stream);
  }
};

TEST(CudaExpertsTest, LogitsAgreeWhereCublasComputesTheExperts) {
  const auto path = golden_checkpoint("plain-f32");
  constexpr int64_t kPrompt = 544;  // 136 rows an expert
  MixtralOptions options = options_with(kBF16);
  options.max_rows = kPrompt;
  options.max_logit_rows = kPrompt;
  Routing routing;
  ModelOnOneRank cpu(path, std::make_unique<RecordingBackend>(backend_of({"cpu", 1, ""}), routing), kPrompt, options);
  ModelOnOneRank cuda(
      path, std::make_unique<FollowingBackend>(std::make_unique<CountedBackend>(backend_of({"cuda", 0, ""})), routing),
      kPrompt, options);
  std::mt19937 random(3);
  std::vector<TokenId> ids(kPrompt);
  for (TokenId& id : ids) id = static_cast<TokenId>(random() % 256);
  const Logits expected = run_along(cpu, ids, kPrompt, kPrompt);
  expect_agree(expected, run_along(cuda, ids, kPrompt, kPrompt), kRandomBf16);
  EXPECT_GT(softgpu_executed("grouped-gemm"), 0);
}

TEST(CudaLoadTest, ProgressIsToldMatrixByMatrixUpToAllThatIsRead) {
  std::vector<int64_t> told;
  MixtralOptions options = options_with(DType::kBF16);
  options.load.progress = [&told](int64_t bytes) { told.push_back(bytes); };
  ModelOnOneRank model(golden_checkpoint("plain-f32"), {"cuda", 0, ""}, 64, options);
  const auto checkpoint = Checkpoint::open(golden_checkpoint("plain-f32"));
  EXPECT_TRUE(std::ranges::is_sorted(told));
  EXPECT_EQ(told.size(), 3U + static_cast<size_t>(checkpoint->config().num_layers * (2 + 4 + 1 + 3 * 8)))
      << "embedding, norm and head; of a layer two norms, q, k, v and o, the router, its experts";
  EXPECT_EQ(told.back(), model.model().weight_bytes_read());
  EXPECT_EQ(told.back(), 4 * checkpoint->config().num_parameters());
}

// Greedy text of the demo model, each backend on its own, as far as the cpu is sure of its token.
TEST(CudaDemoTest, FreeRunningTextIsTheCpusWhereItsMarginIsLargeEnough) {
  const auto path = golden_checkpoint("octet-demo");
  ModelOnOneRank cpu(path, {"cpu", 1, ""}, 512, options_with(DType::kBF16));
  ModelOnOneRank cuda(path, {"cuda", 0, ""}, 512, options_with(DType::kBF16));
  size_t all_steps = 0;
  for (auto ids : prompts_of("octet-demo")) {
    int64_t done = 0;
    for (size_t step = 0; step < 24; ++step, ++all_steps) {
      const auto size = static_cast<int64_t>(ids.size());
      const auto cpu_row = cpu.run_chunk(ids, done, size, {size - 1}).front();
      const auto cuda_row = cuda.run_chunk(ids, done, size, {size - 1}).front();
      if (margin_of(cpu_row) < 2 * kDemo * largest_of({cpu_row})) break;
      ASSERT_EQ(best_of(cuda_row), best_of(cpu_row)) << "step " << step;
      ids.push_back(static_cast<TokenId>(best_of(cpu_row)));
      done = size;
    }
  }
  std::printf("%zu steps alike\n", all_steps);
  EXPECT_GE(all_steps, 16U);
}

}  // namespace
}  // namespace octet::testing
