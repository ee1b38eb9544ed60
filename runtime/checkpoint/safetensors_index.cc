#include "runtime/checkpoint/safetensors_index.h"

#include "runtime/base/json_text.h"
#include "runtime/base/quote.h"

namespace octet {
namespace {

Status check_shard_name(const std::string& tensor, const std::string& shard) {
  // Names come with the download: one that leaves the checkpoint's folder would open any file of the user's.
  const bool plain = shard.find('/') == std::string::npos && shard.find('\0') == std::string::npos;
  if (plain && shard.ends_with(".safetensors") && shard.size() <= 255) return ok_status();
  return invalid_input("tensor {}: shard {} is not the plain name of a .safetensors file", quote(tensor), quote(shard));
}

}  // namespace

Result<std::map<std::string, std::string>> parse_safetensors_index(std::string_view text) {
  OCTET_ASSIGN_OR_RETURN(const nlohmann::json object, parse_json_object(text));
  JsonFields fields(object);
  const nlohmann::json* weight_map = fields.object("weight_map");
  OCTET_RETURN_IF_ERROR(fields.status());
  if (weight_map == nullptr || weight_map->empty()) return invalid_input("weight_map is missing or empty");
  std::map<std::string, std::string> shards;
  for (const auto& [tensor, shard] : weight_map->items()) {
    if (!shard.is_string()) return invalid_input("weight_map: tensor {}: the shard is not a string", quote(tensor));
    OCTET_RETURN_IF_ERROR(check_shard_name(tensor, shard.get<std::string>()));
    shards.emplace(tensor, shard.get<std::string>());
  }
  return shards;
}

}  // namespace octet
