#include "runtime/model/chat_template_file.h"

#include <toml++/toml.h>

#include <string_view>
#include <utility>

#include "runtime/base/read_file.h"

namespace octet {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{1} << 20;
constexpr std::string_view kContent = "{content}";

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
    for (size_t at = part.text.find(kContent); at != std::string::npos; at = part.text.find(kContent, at + 1)) ++found;
  }
  if (found == num_contents) return ok_status();
  return error_at(node, fmt::format("{{content}} stands {} times in it instead of {}", found, num_contents));
}

Status read_signs(const toml::node& node, TemplateSigns* signs) {
  if (!node.is_table()) return error_at(node, "not a table");
  for (const auto& [key, value] : *node.as_table()) {
    if (key == "contains") {
      OCTET_RETURN_IF_ERROR(read_strings(value, &signs->contains));
    } else if (key == "lacks") {
      OCTET_RETURN_IF_ERROR(read_strings(value, &signs->lacks));
    } else if (key == "tokens") {
      OCTET_RETURN_IF_ERROR(read_strings(value, &signs->tokens));
    } else {
      return error_at(value, fmt::format("unknown key '{}'", key.str()));
    }
  }
  return ok_status();
}

Status read_key(std::string_view key, const toml::node& node, ChatTemplateSpec* spec) {
  if (key == "description") return read_string(node, &spec->description);
  if (key == "begin") return read_parts(node, 0, &spec->begin);
  if (key == "system") return read_parts(node, 1, &spec->system.emplace());
  if (key == "system_separator") return read_string(node, &spec->system_separator);
  if (key == "user") return read_parts(node, 1, &spec->user);
  if (key == "assistant") return read_parts(node, 1, &spec->assistant);
  if (key == "answer") return read_parts(node, 0, &spec->answer);
  if (key == "join") return read_string(node, &spec->join.emplace());
  if (key == "recognise") return read_signs(node, &spec->recognise);
  if (key != "text_stands_alone") return error_at(node, fmt::format("unknown key '{}'", key));
  if (!node.is_boolean()) return error_at(node, "not true or false");
  spec->text_stands_alone = **node.as_boolean();
  return ok_status();
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
  if (!spec.system && !table.contains("system_separator")) {
    return invalid_input("one of 'system' and 'system_separator' is needed");
  }
  return spec;
}

}  // namespace

Result<ChatTemplateSpec> read_chat_template(const std::filesystem::path& path) {
  OCTET_ASSIGN_OR_RETURN(const std::string text, read_text_file(path, kMaxFileBytes));
  Result<ChatTemplateSpec> spec = parse(text);
  if (!spec.ok()) return invalid_input("{}: {}", path.string(), spec.status().message());
  spec->name = path.stem().string();
  return spec;
}

}  // namespace octet
