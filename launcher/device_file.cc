#include "launcher/device_file.h"

#include <algorithm>
#include <filesystem>

#include "launcher/paths.h"
#include "launcher/toml_table.h"
#include "runtime/base/read_file.h"

namespace octet {
namespace {

constexpr size_t kMaxFileBytes = 1 << 16;
constexpr double kLargest = 1e9;

}  // namespace

Result<DeviceCeilings> parse_device_file(std::string_view text, const std::string& path) {
  toml::table table;
  try {
    table = toml::parse(text);
  } catch (const toml::parse_error& error) {
    return toml_error(path, error);
  }
  DeviceCeilings device;
  double read_gb = 0, product_tflop = 0, link_gb = 0, network_gb = 0, launch_us = 0;
  TableReader reader(table, path);
  reader.text("name", device.name);
  reader.texts("gpu_names", device.gpu_names);
  reader.number("read_gb_s", read_gb, 1e-3, kLargest);
  reader.number("product_tflop_s", product_tflop, 1e-6, kLargest);
  reader.integer("devices_per_node", device.devices_per_node, 1, 4096);
  reader.number("link_gb_s", link_gb, 1e-3, kLargest);
  reader.number("network_gb_s", network_gb, 1e-3, kLargest);
  reader.number("launch_us", launch_us, 0, kLargest);
  OCTET_RETURN_IF_ERROR(reader.finish());
  if (device.name.empty() || read_gb == 0 || product_tflop == 0 || link_gb == 0 || network_gb == 0) {
    return invalid_input("{}: name, read_gb_s, product_tflop_s, link_gb_s and network_gb_s have to be there", path);
  }
  device.read_bytes_per_second = read_gb * 1e9;
  device.product_operations_per_second = product_tflop * 1e12;
  device.link_bytes_per_second = link_gb * 1e9;
  device.network_bytes_per_second = network_gb * 1e9;
  device.seconds_per_launch = launch_us * 1e-6;
  return device;
}

Result<DeviceCeilings> read_device_file(const std::string& name) {
  const std::filesystem::path shipped = configs_dir() / "devices" / (name + ".toml");
  const bool is_shipped = name.find('/') == std::string::npos && file_exists(shipped);
  const std::string path = is_shipped ? shipped.string() : name;
  OCTET_ASSIGN_OR_RETURN(const std::string text, read_text_file(path, kMaxFileBytes));
  return parse_device_file(text, path);
}

Result<std::optional<DeviceCeilings>> find_device_file(std::string_view gpu_name) {
  const auto files = files_of_folder(configs_dir() / "devices");
  if (!files.ok()) return std::optional<DeviceCeilings>();
  for (const std::filesystem::path& file : *files) {
    if (file.extension() != ".toml") continue;
    OCTET_ASSIGN_OR_RETURN(DeviceCeilings device, read_device_file(file.string()));
    if (std::ranges::find(device.gpu_names, gpu_name) != device.gpu_names.end())
      return std::optional<DeviceCeilings>(std::move(device));
  }
  return std::optional<DeviceCeilings>();
}

}  // namespace octet
