#include "runtime/checkpoint/config_file.h"

namespace octet {

void add_remarks(const std::filesystem::path& path, const std::vector<std::string>& lines,
                 std::vector<std::string>& remarks) {
  for (const std::string& line : lines) remarks.push_back(fmt::format("{}: {}", path.string(), line));
}

Result<ModelConfig> read_model_config(const std::filesystem::path& folder, CheckpointFormat format,
                                      std::vector<std::string>& remarks) {
  const std::filesystem::path path = folder / files_of(format).config;
  if (format == CheckpointFormat::kNative) return read_config(path, parse_native_params);
  std::vector<std::string> left_out;
  OCTET_ASSIGN_OR_RETURN(ModelConfig config,
                         read_config(path, [&](std::string_view text) { return parse_hf_config(text, &left_out); }));
  add_remarks(path, left_out, remarks);
  return config;
}

}  // namespace octet
