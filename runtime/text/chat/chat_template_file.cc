#include "runtime/text/chat/chat_template_file.h"

#include <toml++/toml.h>

#include <array>
#include <charconv>
#include <string_view>
#include <utility>

#include "runtime/base/read_file.h"

namespace octet {
namespace {

constexpr int64_t kMaxKnownTemplateBytes = int64_t{1} << 20;
constexpr std::array<std::string_view, 2> kContents{"{content}", "{content|trim}"};

Status error_at(const toml::node& node, std::string_view what) {
  return invalid_input("line {}: {}", node.source().begin.line, what);
}

Status read_string(const toml::node& node, std::string* value) {
  const auto text = node.value_exact<std::string>();
  if (!text) return error_at(node, "not a string");
  *value = *text;
  return ok_status();
}

Status read_strings(const toml::node& node, std::vector<std::string>* values) {
  if (!node.is_array()) return error_at(node, "not an array of strings");
  for (const toml::node& element : *node.as_array()) {
    OCTET_RETURN_IF_ERROR(read_string(element, &values->emplace_back()));
  }
  return ok_status();
}

Status read_part(const toml::node& node, TemplatePart* part) {
  const toml::table* table = node.as_table();
  if (table == nullptr || table->size() != 1) {
    return error_at(node, "not one of { text = … }, { token = … }, { special = … }");
  }
  const std::string_view key = table->cbegin()->first.str();
  OCTET_RETURN_IF_ERROR(read_string(table->cbegin()->second, &part->text));
  if (part->text.empty()) return error_at(node, "empty");
  if (key == "text") {
    part->kind = TemplatePart::Kind::kText;
  } else if (key == "token") {
    part->kind = TemplatePart::Kind::kToken;
  } else if (key == "special" && (part->text == "bos" || part->text == "eos")) {
    part->kind = part->text == "bos" ? TemplatePart::Kind::kBos : TemplatePart::Kind::kEos;
  } else {
    return error_at(node, "not one of { text = … }, { token = … }, { special = \"bos\" or \"eos\" }");
  }
  return ok_status();
}

// `num_contents`: how often {content} must stand in the parts.
Status read_parts(const toml::node& node, int num_contents, TemplateParts* parts) {
  if (!node.is_array()) return error_at(node, "not an array");
  int found = 0;
  for (const toml::node& element : *node.as_array()) {
    TemplatePart& part = parts->emplace_back();
    OCTET_RETURN_IF_ERROR(read_part(element, &part));
    for (const std::string_view content : kContents) {
      for (size_t at = part.text.find(content); at != std::string::npos; at = part.text.find(content, at + 1)) ++found;
    }
  }
  if (found == num_contents) return ok_status();
  return error_at(node, fmt::format("{{content}} stands {} times in it instead of {}", found, num_contents));
}

Status read_known(const toml::node& node, KnownJinja* known) {
  const toml::table* table = node.as_table();
  if (table == nullptr || table->size() != 3) return error_at(node, "not { hash = …, bytes = …, source = … }");
  const auto hash = (*table)["hash"].value_exact<std::string>();
  const auto bytes = (*table)["bytes"].value_exact<int64_t>();
  const auto source = (*table)["source"].value_exact<std::string>();
  if (!hash || hash->size() != 16 || !bytes || !source)
    return error_at(node, "not { hash = …, bytes = …, source = … }");
  const auto read = std::from_chars(hash->data(), hash->data() + hash->size(), known->hash, 16);
  if (read.ec != std::errc() || read.ptr != hash->data() + hash->size())
    return error_at(node, "hash: not 16 hex digits");
  known->num_bytes = *bytes;
  known->source = *source;
  return ok_status();
}

Status read_signs(const toml::node& node, TemplateSigns* signs) {
  if (!node.is_table()) return error_at(node, "not a table");
  for (const auto& [key, value] : *node.as_table()) {
    if (key == "tokens") {
      OCTET_RETURN_IF_ERROR(read_strings(value, &signs->tokens));
    } else if (key == "jinja" && value.is_array()) {
      for (const toml::node& element : *value.as_array()) {
        OCTET_RETURN_IF_ERROR(read_known(element, &signs->jinja.emplace_back()));
      }
    } else {
      return error_at(value, fmt::format("unknown key '{}', or not an array", key.str()));
    }
  }
  return ok_status();
}

// Parts of a turn of its own, or the name of another place.
Status read_system(const toml::node& node, ChatTemplateSpec* spec) {
  spec->system_place = SystemPlace::kOwnTurn;
  if (node.is_array()) return read_parts(node, 1, &spec->system);
  const auto place = node.value_exact<std::string>();
  if (place == "first-user") {
    spec->system_place = SystemPlace::kFirstUser;
  } else if (place == "last-user") {
    spec->system_place = SystemPlace::kLastUser;
  } else if (place == "refused") {
    spec->system_place = SystemPlace::kRefused;
  } else {
    return error_at(node, "not an array, \"first-user\", \"last-user\" or \"refused\"");
  }
  return ok_status();
}

Status read_bool(const toml::node& node, bool* value) {
  if (!node.is_boolean()) return error_at(node, "not true or false");
  *value = **node.as_boolean();
  return ok_status();
}

Status read_key(std::string_view key, const toml::node& node, ChatTemplateSpec* spec) {
  if (key == "description") return read_string(node, &spec->description);
  if (key == "begin") return read_parts(node, 0, &spec->begin);
  if (key == "system") return read_system(node, spec);
  if (key == "system_separator") return read_string(node, &spec->system_separator);
  if (key == "default_system") return read_string(node, &spec->default_system.emplace());
  if (key == "user") return read_parts(node, 1, &spec->user);
  if (key == "assistant") return read_parts(node, 1, &spec->assistant);
  if (key == "answer") return read_parts(node, 0, &spec->answer);
  if (key == "join") return read_string(node, &spec->join.emplace());
  if (key == "alternates") return read_bool(node, &spec->alternates);
  if (key == "text_stands_alone") return read_bool(node, &spec->text_stands_alone);
  if (key == "recognise") return read_signs(node, &spec->recognise);
  return error_at(node, fmt::format("unknown key '{}'", key));
}

Result<ChatTemplateSpec> parse(std::string_view text) {
  toml::table table;
  try {
    table = toml::parse(text);
  } catch (const toml::parse_error& error) {
    return invalid_input("line {}: {}", error.source().begin.line, error.description());
  }
  ChatTemplateSpec spec;
  for (const auto& [key, node] : table) {
    const Status status = read_key(key.str(), node, &spec);
    if (!status.ok()) return invalid_input("{}: {}", key.str(), status.message());
  }
  for (const char* key : {"user", "assistant"}) {
    if (!table.contains(key)) return invalid_input("'{}' is missing", key);
  }
  const bool is_folded = spec.system_place == SystemPlace::kFirstUser || spec.system_place == SystemPlace::kLastUser;
  if (is_folded && !table.contains("system_separator")) {
    return invalid_input("one of 'system' and 'system_separator' is needed");
  }
  return spec;
}

}  // namespace

Result<ChatTemplateSpec> read_chat_template(const std::filesystem::path& path) {
  OCTET_ASSIGN_OR_RETURN(const std::string text, read_text_file(path, kMaxKnownTemplateBytes));
  Result<ChatTemplateSpec> spec = parse(text);
  if (!spec.ok()) return invalid_input("{}: {}", path.string(), spec.status().message());
  spec->name = path.stem().string();
  return spec;
}

}  // namespace octet
