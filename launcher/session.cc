#include "launcher/session.h"

#include <algorithm>
#include <chrono>
#include <fstream>

#include "kernels/backend_factory.h"
#include "launcher/output.h"
#include "launcher/paths.h"
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
  const auto start = std::chrono::steady_clock::now();
  auto session = std::unique_ptr<Session>(new Session);
  session->path_ = model_path(flags);
  OCTET_ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::open(session->path_));
  if (flags.check_weights) OCTET_RETURN_IF_ERROR(check_finite(checkpoint));
  OCTET_ASSIGN_OR_RETURN(session->tokenizer_, open_tokenizer_if_any(session->path_));
  session->config_ = checkpoint.config();
  session->generation_defaults_ = checkpoint.generation_defaults();
  ModelConfig& config = session->config_;
  OCTET_ASSIGN_OR_RETURN(config.max_positions, choose_context(flags, config));
  OCTET_ASSIGN_OR_RETURN(session->backend_, make_backend({flags.device, flags.threads, flags.isa}));
  OCTET_ASSIGN_OR_RETURN(const Topology topology, make_topology({}, {config.num_kv_heads, config.num_experts}));

  MixtralOptions options;
  options.max_rows = std::max(flags.prefill_chunk, flags.max_batch);
  options.max_logit_rows = needs.all_logits ? options.max_rows : flags.max_batch;
  options.kv_dtype = kv_dtype(flags.kv_dtype);
  options.max_context = config.max_positions;
  const KvStoreShape page{config.num_layers, 1, config.num_kv_heads, config.head_dim, options.kv_dtype};
  OCTET_ASSIGN_OR_RETURN(options.num_pages, choose_pages(flags, config.max_positions, page.page_bytes()));
  options.load.dtype = kept_dtype(flags.weights);
  ProgressBar bar("loading", checkpoint.file_bytes());
  options.load.progress = [&bar](int64_t bytes) { bar.update(bytes); };
  session->comms_ = std::make_unique<ModelComms>(session->world_, topology);
  OCTET_ASSIGN_OR_RETURN(session->runner_,
                         Mixtral::create(checkpoint, topology, *session->backend_, *session->comms_, options));

  session->load_seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double bytes = static_cast<double>(session->runner_->weight_bytes_read());
  log_info("{}: read {} of {} in {:.2f} s ({}/s) on {}, KV cache of {} tokens ({})", session->path_.string(),
           human_bytes(bytes), human_bytes(static_cast<double>(checkpoint.file_bytes())), session->load_seconds_,
           human_bytes(bytes / session->load_seconds_), session->backend_->name(), options.num_pages * kPageTokens,
           human_bytes(static_cast<double>(options.num_pages * page.page_bytes())));
  return session;
}

}  // namespace octet
