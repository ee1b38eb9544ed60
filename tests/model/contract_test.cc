// The numeric contract on one rank: a sequence's logits have the same bits whatever runs beside it, however its prompt
// is cut, on any number of threads.
#include <gtest/gtest.h>

#include <random>
#include <tuple>

#include "tests/model/model_fixture.h"

namespace octet::testing {
namespace {

using Rows = std::vector<std::vector<float>>;

// Prompts of 1 to `longest` tokens.
std::vector<std::vector<TokenId>> random_prompts(size_t count, int longest, int64_t vocab, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<std::vector<TokenId>> prompts(count);
  for (auto& prompt : prompts) {
    prompt.resize(1 + random() % static_cast<unsigned>(longest));
    for (TokenId& id : prompt) id = static_cast<TokenId>(random() % static_cast<uint64_t>(vocab));
  }
  return prompts;
}

// Last-token logits of each prompt, alone and in one step.
Rows alone(ModelOnOneRank& model, const std::vector<std::vector<TokenId>>& prompts) {
  Rows rows;
  for (const auto& prompt : prompts) rows.push_back(model.logits(prompt, {std::ssize(prompt) - 1}, 512).front());
  return rows;
}

using Case = std::tuple<std::string, std::string, BackendOptions>;  // checkpoint, weights, device

class ContractTest : public ::testing::TestWithParam<Case> {
 protected:
  static constexpr int64_t kTokens = 32 * 256;

  ModelOnOneRank make_model(int num_threads, DType kv_dtype = DType::kF32) {
    const auto& [name, weights, device] = GetParam();
    MixtralOptions options;
    options.max_rows = 2048;
    options.kv_dtype = kv_dtype;
    if (weights == "bf16") options.load.format = DType::kBF16;
    if (weights == "f16") options.load.format = DType::kF16;
    if (weights == "f32") options.load.format = DType::kF32;
    BackendOptions backend = device;
    backend.num_threads = num_threads;
    return ModelOnOneRank(golden_checkpoint(name), backend, kTokens, options);
  }
};

TEST_P(ContractTest, MixedBatchesHaveTheBitsOfSequencesAlone) {
  for (const DType kv_dtype : {DType::kF32, DType::kBF16, DType::kI8}) {
    ModelOnOneRank model = make_model(2, kv_dtype);
    for (const size_t batch : {2, 5, 32}) {
      const auto prompts = random_prompts(batch, 60, model.model().vocab_size(), static_cast<uint32_t>(batch));
      const Rows expected = alone(model, prompts);
      EXPECT_EQ(model.run_batch(prompts, std::vector<int64_t>(batch, 0)), expected) << "prefill of " << batch;
      // Half of the sequences are one token before the end (decode), the others half-way through their prompt: first
      // the beginnings, then one step of the mixture.
      std::vector<std::vector<TokenId>> beginnings = prompts;
      std::vector<int64_t> done;
      for (size_t s = 0; s < batch; ++s) {
        done.push_back(s % 2 == 0 ? std::ssize(prompts[s]) - 1 : std::ssize(prompts[s]) / 2);
        beginnings[s].resize(std::max<size_t>(1, static_cast<size_t>(done[s])));
      }
      model.run_batch(beginnings, std::vector<int64_t>(batch, 0));
      EXPECT_EQ(model.run_batch(prompts, done), expected) << "decode and prefill, batch of " << batch;
    }
  }
}

TEST_P(ContractTest, AnyNumberOfThreadsGivesTheSameBits) {
  ModelOnOneRank one = make_model(1);
  const auto prompts = random_prompts(6, 200, one.model().vocab_size(), 3);
  const Rows expected = alone(one, prompts);
  for (const int num_threads : {2, 3, 4}) {
    ModelOnOneRank many = make_model(num_threads);
    EXPECT_EQ(alone(many, prompts), expected) << num_threads << " threads";
  }
}

// What a step makes of tokens that turn out to be wrong is overwritten before it is read.
TEST_P(ContractTest, TokensGuessedWrongLeaveNoTrace) {
  constexpr int64_t kSize = 150;
  for (const DType kv_dtype : {DType::kF32, DType::kI8}) {
    std::mt19937 random(7);
    ModelOnOneRank plain = make_model(2, kv_dtype);
    const auto random_tokens = [&](int64_t count) {
      std::vector<TokenId> tokens(static_cast<size_t>(count));
      for (TokenId& id : tokens)
        id = static_cast<TokenId>(random() % static_cast<uint64_t>(plain.model().vocab_size()));
      return tokens;
    };
    const std::vector<TokenId> truth = random_tokens(kSize);
    std::vector<int64_t> positions(static_cast<size_t>(kSize + 70));
    std::iota(positions.begin(), positions.end(), 0);
    const Rows expected = plain.logits(truth, positions, 512);
    ModelOnOneRank guessing = make_model(2, kv_dtype);
    for (int64_t done = 0, num_right = 50; done < kSize; done += num_right, num_right = 1 + random() % 6) {
      num_right = std::min(num_right, kSize - done);
      std::vector<TokenId> ids(truth.begin(), truth.begin() + done + num_right);
      const std::vector<TokenId> wrong = random_tokens(random() % 70);
      ids.insert(ids.end(), wrong.begin(), wrong.end());
      const Rows rows = guessing.run_chunk(ids, done, std::ssize(ids), positions);
      for (int64_t i = 0; i < num_right; ++i) {
        ASSERT_EQ(rows[static_cast<size_t>(i)], expected[static_cast<size_t>(done + i)]) << "position " << done + i;
      }
    }
  }
}

std::vector<BackendOptions> cpu_devices() {
  std::vector<BackendOptions> devices = devices_here();
  devices.erase(devices.begin());  // the reference has one thread
  return devices;
}

std::string case_name(const ::testing::TestParamInfo<Case>& test) {
  const auto& [checkpoint, weights, device] = test.param;
  std::string name = checkpoint + "_" + weights + "_" + device_name(device);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Cpu, ContractTest,
                         ::testing::Combine(::testing::Values("kv6-bf16", "odd-bf16-sharded", "six-experts-top3-tied",
                                                              "window-bf16", "octet-demo"),
                                            ::testing::Values("file"), ::testing::ValuesIn(cpu_devices())),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Weights, ContractTest,
                         ::testing::Combine(::testing::Values("plain-f32", "kv8-bf16"),
                                            ::testing::Values("bf16", "f16", "f32"),
                                            ::testing::ValuesIn(cpu_devices())),
                         case_name);

}  // namespace
}  // namespace octet::testing
