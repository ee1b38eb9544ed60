#include "launcher/model_flags.h"

#include "kernels/backend_factory.h"

namespace octet {

void declare_model_path(CLI::App& app, ModelFlags& flags) {
  app.add_option(
         "--model", flags.model,
         "directory of a checkpoint: Hugging Face (config.json) or Mistral-native (params.json) layout, weights as "
         "safetensors; default: $OCTET_MODEL, else the shipped demo model")
      ->type_name("DIR");
}

void declare_model_flags(CLI::App& app, ModelFlags& flags) {
  declare_model_path(app, flags);
  const auto group = [&app](CLI::Option* option) { return option->group("Running the model"); };
  group(
      app.add_option("--device", flags.device, "where it runs: " + available_devices() + " (default: the best here)"));
  group(app.add_option("--threads", flags.threads,
                       "threads of the cpu device (default: as many as the affinity mask allows)"))
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
  group(app.add_option("--isa", flags.isa, "instruction set of the cpu device: avx2, avx512 (default: the best here)"))
      ->type_name("NAME");
  group(app.add_option("--kv-dtype", flags.kv_dtype,
                       "how keys and values are kept: fp32, bf16 (half the memory), int8 (a quarter)"))
      ->check(CLI::IsMember({"fp32", "bf16", "int8"}))
      ->capture_default_str();
  group(app.add_option("--weights", flags.weights, "keep weights as the file has them, or convert: file, bf16, f16"))
      ->check(CLI::IsMember({"file", "bf16", "f16"}))
      ->capture_default_str();
  group(app.add_option(
            "--kv-cache", flags.kv_cache,
            "memory for keys and values, e.g. 512M or 8G (default: max-batch contexts, at most a quarter of the "
            "free memory)"))
      ->transform(CLI::AsSizeValue(false))
      ->type_name("SIZE");
  group(app.add_option("--prefill-chunk", flags.prefill_chunk, "most tokens of one step; never changes a result"))
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  group(app.add_option("--max-batch", flags.max_batch, "most sequences that run at once; never changes a result"))
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  group(app.add_option("--max-context", flags.max_context, "longest sequence in tokens (default: the checkpoint's)"))
      ->check(CLI::Range(1, 1 << 24))
      ->type_name("N");
  group(
      app.add_flag("--check-weights", flags.check_weights, "refuse weights that are NaN or infinite (reads them all)"));
}

}  // namespace octet
