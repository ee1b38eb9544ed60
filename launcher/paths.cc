#include "launcher/paths.h"

#include <cstdlib>

namespace octet {

std::filesystem::path own_binary() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error);
}

std::filesystem::path configs_dir() {
  std::error_code error;
  const std::filesystem::path binary = own_binary();
  const std::filesystem::path installed = binary.parent_path().parent_path() / "share" / "octet" / "configs";
  if (std::filesystem::exists(installed, error)) return installed;
  for (std::filesystem::path dir = binary.parent_path(); dir.has_relative_path(); dir = dir.parent_path()) {
    if (std::filesystem::exists(dir / "configs" / "models" / "octet-demo", error)) return dir / "configs";
  }
  return installed;
}

std::filesystem::path loopback_library() {
  constexpr const char* kName = "liboctet_loopback.so";
  std::error_code error;
  const std::filesystem::path folder = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  for (const auto& place : {folder / kName, folder.parent_path() / "lib" / "octet" / kName}) {
    if (std::filesystem::exists(place, error)) return place;
  }
  return {};
}

std::filesystem::path default_model() {
  if (const char* model = std::getenv("OCTET_MODEL"); model != nullptr && *model != '\0') return model;
  return configs_dir() / "models" / "octet-demo";
}

}  // namespace octet
