#include "runtime/text/added_tokens.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>

#include "runtime/base/foreign_file.h"
#include "runtime/base/read_file.h"

namespace octet {
namespace {

using nlohmann::json;

constexpr int64_t kMaxFileBytes = int64_t{64} << 20;
// Far above every vocabulary; an id beyond it is damage, and would cost memory for every id below it.
constexpr int64_t kMaxTokenId = (int64_t{1} << 22) - 1;

// The object in a JSON file; an empty object where there is no such file.
Result<json> read_json_object(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return json::object();
  OCTET_ASSIGN_OR_RETURN(const std::string text, read_text_file(path, kMaxFileBytes));
  json object = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return refuse_file(path, text, FileContent::kJson, invalid_input("not a JSON object"));
  return object;
}

// The text of a token, which is written as a string or as an object with "content"; empty where it is neither.
std::string token_content(const json& token) {
  const json* content = &token;
  if (token.is_object()) {
    const auto it = token.find("content");
    if (it == token.end()) return {};
    content = &*it;
  }
  return content->is_string() ? content->get<std::string>() : std::string();
}

bool flag(const json& object, const char* key, bool otherwise = false) {
  const auto it = object.find(key);
  return it != object.end() && it->is_boolean() ? it->get<bool>() : otherwise;
}

// A name that `object` does not have stays as it is; null says that there is no such token.
void read_names(const json& object, SpecialTokenNames* names) {
  const auto read = [&](const char* key, std::optional<std::string>& name) {
    if (const auto it = object.find(key); it != object.end()) name = token_content(*it);
  };
  read("bos_token", names->bos);
  read("eos_token", names->eos);
  read("unk_token", names->unk);
  read("pad_token", names->pad);
}

// The tokens to which `object` gives a role: every "…_token" and the list "additional_special_tokens".
void collect_roles(const json& object, std::set<std::string>* roles) {
  for (const auto& [key, value] : object.items()) {
    if (key.ends_with("_token")) roles->insert(token_content(value));
    if (key == "additional_special_tokens" && value.is_array()) {
      for (const json& token : value) roles->insert(token_content(token));
    }
  }
}

Status add_token(AddedToken token, int64_t id, std::map<TokenId, AddedToken>* tokens) {
  if (id < 0 || id > kMaxTokenId) return invalid_input("added token id {} is not in 0–{}", id, kMaxTokenId);
  if (token.content.empty()) return invalid_input("added token {} has no text", id);
  token.id = static_cast<TokenId>(id);
  tokens->emplace(token.id, std::move(token));
  return ok_status();
}

Status read_decoder(const json& config, std::map<TokenId, AddedToken>* tokens) {
  const auto decoder = config.find("added_tokens_decoder");
  if (decoder == config.end()) return ok_status();
  if (!decoder->is_object()) return invalid_input("added_tokens_decoder is not an object");
  for (const auto& [key, value] : decoder->items()) {
    int64_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || !value.is_object()) {
      return invalid_input("added_tokens_decoder: {:?} is not a token id with an object", key);
    }
    const AddedToken token{.content = token_content(value),
                           .special = flag(value, "special"),
                           .strip_left = flag(value, "lstrip"),
                           .strip_right = flag(value, "rstrip"),
                           .single_word = flag(value, "single_word")};
    OCTET_RETURN_IF_ERROR(add_token(token, id, tokens));
  }
  return ok_status();
}

Status read_added(const json& added, const std::set<std::string>& roles, std::map<TokenId, AddedToken>* tokens) {
  for (const auto& [content, id] : added.items()) {
    if (!id.is_number_integer()) return invalid_input("{:?} has no token id", content);
    const AddedToken token{.content = content, .special = roles.contains(content)};
    OCTET_RETURN_IF_ERROR(add_token(token, id.get<int64_t>(), tokens));
  }
  return ok_status();
}

Status with_path(const std::filesystem::path& path, const Status& status) {
  return status.ok() ? status : Status(status.code(), path.string() + ": " + status.message());
}

bool is_word(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte >= 0x80 || byte == '_' || (byte >= '0' && byte <= '9') || ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z');
}

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// Where `token` occurs next at or after `from`; npos: nowhere.
size_t find_token(std::string_view text, const AddedToken& token, size_t from) {
  for (size_t at = text.find(token.content, from); at != std::string_view::npos;
       at = text.find(token.content, at + 1)) {
    const size_t end = at + token.content.size();
    const bool touched = (at > 0 && is_word(text[at - 1])) || (end < text.size() && is_word(text[end]));
    if (!token.single_word || !touched) return at;
  }
  return std::string_view::npos;
}

}  // namespace

Result<AddedTokenFiles> read_added_tokens(const std::filesystem::path& model_dir) {
  const auto config_path = model_dir / "tokenizer_config.json";
  const auto added_path = model_dir / "added_tokens.json";
  OCTET_ASSIGN_OR_RETURN(const json config, read_json_object(config_path));
  OCTET_ASSIGN_OR_RETURN(const json roles_map, read_json_object(model_dir / "special_tokens_map.json"));
  OCTET_ASSIGN_OR_RETURN(const json added, read_json_object(added_path));

  std::set<std::string> roles;
  collect_roles(config, &roles);
  collect_roles(roles_map, &roles);
  std::map<TokenId, AddedToken> tokens;
  OCTET_RETURN_IF_ERROR(with_path(config_path, read_decoder(config, &tokens)));
  OCTET_RETURN_IF_ERROR(with_path(added_path, read_added(added, roles, &tokens)));

  AddedTokenFiles files;
  files.legacy = config.value("legacy", json(true)) != json(false);
  files.add_bos = flag(config, "add_bos_token", true);
  files.add_eos = flag(config, "add_eos_token", false);
  read_names(config, &files.names);
  files.names_file = config_path;
  if (!config.contains("added_tokens_decoder") && !roles_map.empty()) {
    read_names(roles_map, &files.names);
    files.names_file = model_dir / "special_tokens_map.json";
  }
  for (auto& [id, token] : tokens) files.tokens.push_back(std::move(token));
  return files;
}

std::vector<TextSegment> split_at_added_tokens(std::string_view text, std::span<const AddedToken* const> tokens) {
  std::vector<size_t> next;  // where each token occurs next
  next.reserve(tokens.size());
  for (const AddedToken* token : tokens) next.push_back(find_token(text, *token, 0));

  std::vector<TextSegment> segments;
  size_t start = 0;
  while (true) {
    const AddedToken* found = nullptr;
    size_t at = std::string_view::npos;
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (next[i] < start) next[i] = find_token(text, *tokens[i], start);
      const bool longer = found != nullptr && tokens[i]->content.size() > found->content.size();
      if (next[i] < at || (next[i] == at && longer)) {
        at = next[i];
        found = tokens[i];
      }
    }
    if (found == nullptr) break;
    size_t left = at;
    while (found->strip_left && left > start && is_space(text[left - 1])) --left;
    if (left > start) segments.push_back({text.substr(start, left - start)});
    segments.push_back({found->content, found->id});
    start = at + found->content.size();
    while (found->strip_right && start < text.size() && is_space(text[start])) ++start;
  }
  if (start < text.size()) segments.push_back({text.substr(start)});
  return segments;
}

}  // namespace octet
