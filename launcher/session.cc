#include "launcher/session.h"

#include <algorithm>
#include <chrono>
#include <fstream>

#include "kernels/backend_factory.h"
#include "launcher/output.h"
#include "launcher/paths.h"
#include "runtime/base/check.h"
#include "runtime/base/log.h"
#include "runtime/model/check_weights.h"

namespace octet {
namespace {

// Memory that can be had without swapping, in bytes; 0 when the system does not say.
int64_t available_memory() {
  std::ifstream meminfo("/proc/meminfo");
  for (std::string key, unit; meminfo >> key;) {
    int64_t kilobytes = 0;
    meminfo >> kilobytes;
    if (key == "MemAvailable:") return kilobytes * 1024;
    std::getline(meminfo, unit);
  }
  return 0;
}

int64_t pages_of(int64_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

// The longest sequence to make room for.
Result<int64_t> choose_context(const ModelFlags& flags, const ModelConfig& config) {
  if (flags.max_context > config.max_positions) {
    return invalid_input("--max-context {}: the checkpoint's context is {}", flags.max_context, config.max_positions);
  }
  return flags.max_context > 0 ? flags.max_context : config.max_positions;
}

// Pages of the KV cache: as --kv-cache says, else max_batch contexts within a quarter of the free memory.
Result<int64_t> choose_pages(const ModelFlags& flags, int64_t context, int64_t page_bytes) {
  if (flags.kv_cache > 0) {
    const int64_t pages = static_cast<int64_t>(flags.kv_cache) / page_bytes;
    if (pages == 0) {
      return invalid_input("--kv-cache {}: one page of {} tokens takes {}", flags.kv_cache, kPageTokens, page_bytes);
    }
    return pages;
  }
  const int64_t wanted = flags.max_batch * pages_of(context);
  const int64_t affordable = available_memory() / 4 / page_bytes;
  return std::clamp(affordable, int64_t{1}, wanted);
}

std::optional<DType> kept_dtype(const std::string& weights) {
  if (weights == "bf16") return DType::kBF16;
  if (weights == "f16") return DType::kF16;
  return std::nullopt;
}

DType kv_dtype(const std::string& name) {
  if (name == "bf16") return DType::kBF16;
  return name == "int8" ? DType::kI8 : DType::kF32;
}

Result<std::optional<Tokenizer>> open_tokenizer_if_any(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path / "tokenizer.model")) return std::optional<Tokenizer>();
  OCTET_ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::open(path));
  return std::optional<Tokenizer>(std::move(tokenizer));
}

}  // namespace

std::filesystem::path model_path(const ModelFlags& flags) {
  return flags.model.empty() ? default_model() : std::filesystem::path(flags.model);
}

Result<const Tokenizer*> Session::require_tokenizer() const {
  if (tokenizer_) return &*tokenizer_;
  return invalid_input("{}: no tokenizer.model, so only token ids can be used (--ids)", path_.string());
}

Result<std::unique_ptr<Session>> Session::open(const ModelFlags& flags, const SessionNeeds& needs) {
  auto session = std::unique_ptr<Session>(new Session);
  session->path_ = model_path(flags);
  session->flags_ = flags;
  OCTET_ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::open(session->path_));
  if (flags.check_weights) OCTET_RETURN_IF_ERROR(check_finite(checkpoint));
  OCTET_ASSIGN_OR_RETURN(session->tokenizer_, open_tokenizer_if_any(session->path_));
  session->config_ = checkpoint.config();
  session->generation_defaults_ = checkpoint.generation_defaults();
  session->checkpoint_ = std::move(checkpoint);
  ModelConfig& config = session->config_;
  OCTET_ASSIGN_OR_RETURN(config.max_positions, choose_context(flags, config));
  OCTET_ASSIGN_OR_RETURN(session->backend_, make_backend({flags.device, flags.threads, flags.isa}));
  OCTET_ASSIGN_OR_RETURN(session->topology_, make_topology({}, {config.num_kv_heads, config.num_experts}));

  MixtralOptions& options = session->options_;
  options.max_rows = std::max(flags.prefill_chunk, flags.max_batch);
  options.max_logit_rows = needs.all_logits ? options.max_rows : flags.max_batch;
  options.kv_dtype = kv_dtype(flags.kv_dtype);
  options.max_context = config.max_positions;
  options.load.dtype = kept_dtype(flags.weights);
  OCTET_ASSIGN_OR_RETURN(options.num_pages, choose_pages(flags, config.max_positions, session->page_bytes()));
  return session;
}

Status Session::load() {
  OCTET_CHECK(checkpoint_.has_value(), "loaded twice");
  const auto start = std::chrono::steady_clock::now();
  const int64_t total_bytes = checkpoint_->file_bytes();
  ProgressBar bar("loading", total_bytes, human_bytes(static_cast<double>(total_bytes)));
  options_.load.progress = [&bar](int64_t bytes) { bar.update(bytes); };
  comms_ = std::make_unique<ModelComms>(world_, topology_);
  OCTET_ASSIGN_OR_RETURN(runner_, Mixtral::create(*checkpoint_, topology_, *backend_, *comms_, options_));
  options_.load.progress = nullptr;
  load_seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double bytes = static_cast<double>(runner_->weight_bytes_read());
  log_info("{}: read {} of {} in {:.2f} s ({}/s) on {}, KV cache of {} tokens ({})", path_.string(), human_bytes(bytes),
           human_bytes(static_cast<double>(total_bytes)), load_seconds_, human_bytes(bytes / load_seconds_),
           backend_->name(), options_.num_pages * kPageTokens,
           human_bytes(static_cast<double>(options_.num_pages * page_bytes())));
  checkpoint_.reset();
  return ok_status();
}

int64_t Session::page_bytes() const {
  return KvStoreShape{config_.num_layers, 1, config_.num_kv_heads, config_.head_dim, options_.kv_dtype}.page_bytes();
}

EngineOptions Session::engine_options() const {
  return {.prefill_chunk = flags_.prefill_chunk, .max_batch = flags_.max_batch};
}

RequestBounds Session::request_bounds() const {
  const EngineOptions options = engine_options();
  return {.vocab_size = config_.vocab_size,
          .max_context = std::min(config_.max_positions, options_.num_pages * kPageTokens),
          .max_num_samples = options.max_num_samples,
          .max_logprobs = options.max_logprobs};
}

}  // namespace octet
