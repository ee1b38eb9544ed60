// Configuration files: small JSON beside the weights.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/foreign_file.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/status.h"
#include "runtime/checkpoint/checkpoint_format.h"
#include "runtime/checkpoint/model_config.h"

namespace octet {

inline constexpr size_t kMaxConfigBytes = size_t{1} << 20;

// Reads a configuration file whole and hands its text to `parse`; errors get the path in front.
template <typename Parse>
auto read_config(const std::filesystem::path& path, Parse parse) -> decltype(parse(std::string_view())) {
  OCTET_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  if (file.bytes().size() > kMaxConfigBytes) {
    return invalid_input("{}: {} bytes, over the limit of {}", path.string(), file.bytes().size(), kMaxConfigBytes);
  }
  auto config = parse(file.text());
  if (!config.ok()) return refuse_file(path, file.text(), FileContent::kJson, config.status());
  return config;
}

// Adds what was left out of a file to the remarks, a line each.
void add_remarks(const std::filesystem::path& path, const std::vector<std::string>& lines,
                 std::vector<std::string>& remarks);

// The configuration of a folder of this format.
Result<ModelConfig> read_model_config(const std::filesystem::path& folder, CheckpointFormat format,
                                      std::vector<std::string>& remarks);

}  // namespace octet
