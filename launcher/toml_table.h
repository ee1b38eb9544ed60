// TableReader: reads the tables of our own TOML files (clusters, devices) and names whatever is wrong with its line.
#pragma once

#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "launcher/nearest.h"
#include "runtime/base/quote.h"
#include "runtime/base/status.h"

namespace octet {

// Why text is no TOML, with the file and the line: one line, although the parser repeats what stands in the text.
inline Status toml_error(const std::string& path, const toml::parse_error& error) {
  std::string what(error.description());
  std::ranges::replace_if(
      what, [](unsigned char c) { return c < ' ' || c == 0x7F; }, ' ');
  const auto line = error.source().begin.line;
  return invalid_input("{}{}: {}", path, line > 0 ? fmt::format(":{}", line) : "", what);
}

// Takes the known keys out of a table; the first thing wrong is kept, and keys that nobody asked for are wrong.
class TableReader {
 public:
  TableReader(const toml::table& table, std::string path) : table_(table), path_(std::move(path)) {}

  void text(const std::string& key, std::string& value) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    const auto* text = node->as_string();
    if (text == nullptr || text->get().empty()) return wrong(key, *node, "a text is expected");
    value = text->get();
  }
  void integer(const std::string& key, int& value, int smallest, int largest) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    const auto* number = node->as_integer();
    if (number == nullptr || number->get() < smallest || number->get() > largest) {
      return wrong(key, *node, fmt::format("a whole number from {} to {} is expected", smallest, largest));
    }
    value = static_cast<int>(number->get());
  }
  void boolean(const std::string& key, bool& value) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    const auto* truth = node->as_boolean();
    if (truth == nullptr) return wrong(key, *node, "true or false is expected");
    value = truth->get();
  }
  void number(const std::string& key, double& value, double smallest, double largest) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    const auto number = node->value<double>();
    if (!node->is_number() || !(*number >= smallest && *number <= largest)) {
      return wrong(key, *node, fmt::format("a number from {} to {} is expected", smallest, largest));
    }
    value = *number;
  }
  void seconds(const std::string& key, std::optional<double>& value) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    const auto number = node->value<double>();
    if (!node->is_number() || !(*number >= 1 && *number <= 1e6)) {
      return wrong(key, *node, "seconds from 1 to 1000000 are expected");
    }
    value = *number;
  }
  void texts(const std::string& key, std::vector<std::string>& values) {
    const toml::array* array = list(key);
    for (size_t i = 0; array != nullptr && i < array->size(); ++i) {
      const auto* text = array->get(i)->as_string();
      if (text == nullptr) return wrong(key, *array->get(i), "an array of texts is expected");
      values.push_back(text->get());
    }
  }
  // Null where there is no such key.
  const toml::table* table(const std::string& key) {
    const toml::node* node = find(key);
    if (node != nullptr && !node->is_table()) wrong(key, *node, fmt::format("a table [{}] is expected", key));
    return node == nullptr ? nullptr : node->as_table();
  }
  const toml::array* list(const std::string& key) {
    const toml::node* node = find(key);
    if (node != nullptr && !node->is_array()) wrong(key, *node, "an array is expected");
    return node == nullptr ? nullptr : node->as_array();
  }
  void wrong(const std::string& key, const toml::node& node, const std::string& what) {
    if (status_.ok()) status_ = invalid_input("{}:{}: {}: {}", path_, node.source().begin.line, key, what);
  }

  // The first thing wrong, after everything was asked for.
  Status finish() const {
    OCTET_RETURN_IF_ERROR(status_);
    for (const auto& [key, node] : table_) {
      const std::string name(key.str());
      if (std::ranges::find(known_, name) != known_.end()) continue;
      const auto guess = nearest(name, known_);
      return invalid_input("{}:{}: unknown key {}{}", path_, key.source().begin.line, quote(name),
                           guess ? fmt::format("; did you mean {}?", *guess)
                                 : fmt::format("; the keys here are {}", fmt::join(known_, ", ")));
    }
    return ok_status();
  }

 private:
  const toml::node* find(const std::string& key) {
    known_.push_back(key);
    return table_.get(key);
  }

  const toml::table& table_;
  const std::string path_;
  std::vector<std::string> known_;
  Status status_;
};

}  // namespace octet
