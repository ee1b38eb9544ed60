// The flags that choose a model and how it is run; the same for every command that runs one.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

namespace octet {

struct ModelFlags {
  std::string model;              // directory of a checkpoint; empty: the default
  std::string tokenizer;          // a tokenizer.model file or a model's directory; empty: the model's own
  std::string generation_config;  // a file, or "none"; empty: the checkpoint's
  std::string device;
  int threads = 0;
  std::string isa;
  std::string weights = "file";
  std::string kv_dtype;   // empty: the device's default
  uint64_t kv_cache = 0;  // bytes; 0: enough for max_batch contexts, as far as memory goes
  int64_t prefill_chunk = 512;
  std::string prefix_cache = "on";
  int64_t max_batch = 32;
  int64_t max_context = 0;  // tokens; 0: what the checkpoint says
  bool check_weights = false;

  int tp = 0, dp = 0, ep = 0, etp = 0;  // 0: the default of the number of ranks
  std::string exchange = "auto";
  std::string exchange_dtype = "fp32";
  std::string placement = "linear";
  bool explain = false;
  double heartbeat_limit = 10;    // seconds
  double collective_limit = 120;  // seconds
};

// --model alone, for commands that only read a checkpoint.
void declare_model_path(CLI::App& app, ModelFlags& flags);
// --tokenizer alone, for commands that need no more than text.
CLI::Option* declare_tokenizer(CLI::App& app, ModelFlags& flags);
// --generation-config, for commands that generate.
void declare_generation_config(CLI::App& app, ModelFlags& flags);
// All but the last.
void declare_model_flags(CLI::App& app, ModelFlags& flags);
// Names of those that were given, --model aside.
std::vector<std::string> given_model_flags(const CLI::App& app);

}  // namespace octet
