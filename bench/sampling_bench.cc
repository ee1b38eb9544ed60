#include "bench/sampling_bench.h"

#include <fmt/format.h>

#include <array>
#include <vector>

#include "bench/random_tensor.h"
#include "kernels/reference/reference_backend.h"
#include "runtime/model/sampler.h"

namespace octet {
namespace {

constexpr int64_t kPromptTokens = 128;
constexpr int64_t kOutputTokens = 128;

// Requests as clients make them.
struct Kind {
  const char* name;
  SamplingParams params;
};

std::array<Kind, 4> kinds() {
  const SamplingParams drawing{.seed = 1};
  std::array<Kind, 4> kinds{{{"greedy", drawing}, {"temperature", drawing}, {"top-p", drawing}, {"top-k", drawing}}};
  kinds[0].params.temperature = 0;
  kinds[2].params.top_p = 0.95;
  kinds[3].name = "top-k, penalties";
  kinds[3].params.top_k = 50;
  kinds[3].params.repetition_penalty = 1.1;
  kinds[3].params.frequency_penalty = 0.5;
  return kinds;
}

// Logits of random weights are nearly normal; so are sums of uniform ones.
Tensor random_logits(int64_t rows, int64_t vocab) {
  Tensor tensor = random_tensor({rows, vocab}, 9);
  float* logits = tensor.view.as<float>();
  const int64_t count = tensor.view.num_elements();
  for (int64_t i = 0; i + 3 < count; ++i) logits[i] = 2 * (logits[i] + logits[i + 1] + logits[i + 2] + logits[i + 3]);
  return tensor;
}

std::vector<TokenId> some_tokens(int64_t vocab) {
  std::vector<TokenId> tokens;
  for (int64_t i = 0; i < kPromptTokens + kOutputTokens; ++i) tokens.push_back(static_cast<TokenId>(i * 7919 % vocab));
  return tokens;
}

// The choice of one token for each row of logits, as an engine asks for it, on one device.
class Rows {
 public:
  Rows(Backend& backend, Stream& stream, const Tensor& logits)
      : backend_(backend),
        stream_(stream),
        sampler_(logits.view.row_elements()),
        tokens_(some_tokens(logits.view.row_elements())),
        logits_(backend.allocate_tensor(DType::kF32, logits.view.shape)),
        out_(backend.allocate_tensor(DType::kI8, {logits.view.rows(), SampledRows::stride(0)})) {
    backend.upload_and_wait(logits.view.data, logits_.view);
  }

  void choose(const SamplingParams& params) {
    batch_.clear();
    for (int64_t row = 0; row < logits_.view.rows(); ++row) {
      sampler_.choose(
          {.row = row, .params = params, .tokens = tokens_, .prompt_size = kPromptTokens, .sample_index = row}, batch_);
    }
    backend_.sample(logits_.view, batch_, out_.view, stream_);
  }
  std::vector<TokenId> chosen() {
    const Tensor out = Tensor::host(DType::kI8, out_.view.shape);
    backend_.download(out_.view, out.view.data, stream_);
    stream_.synchronize();
    const SampledRows rows(static_cast<std::byte*>(out.view.data), 0);
    std::vector<TokenId> ids;
    for (size_t i = 0; i < batch_.samples.size(); ++i) ids.push_back(rows[i].token_id);
    return ids;
  }
  double bytes() const { return static_cast<double>(logits_.view.num_bytes()); }

 private:
  Backend& backend_;
  Stream& stream_;
  Sampler sampler_;
  std::vector<TokenId> tokens_;
  Tensor logits_;
  Tensor out_;
  SamplingBatch batch_;
};

}  // namespace

Status SamplingBench::run(KernelReport& report) {
  ReferenceBackend reference;
  HostStream host_stream;
  for (const int64_t rows : {1, 32}) {
    const Tensor logits = random_logits(rows, options_.vocab);
    Rows here(backend_, stream_, logits);
    Rows expected(reference, host_stream, logits);
    for (const Kind& kind : kinds()) {
      here.choose(kind.params);
      expected.choose(kind.params);
      if (here.chosen() != expected.chosen()) {
        return failed("sampling ({}) chooses other tokens than the reference", kind.name);
      }
      report.measure("sample", fmt::format("{} rows, {}", rows, kind.name), {here.bytes(), 0},
                     [&] { here.choose(kind.params); });
    }
  }
  return ok_status();
}

}  // namespace octet
