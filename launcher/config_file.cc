#include "launcher/config_file.h"

#include <toml++/toml.h>

#include <algorithm>
#include <sstream>

#include "launcher/nearest.h"
#include "launcher/toml_table.h"
#include "runtime/base/read_file.h"

namespace octet {
namespace {

constexpr int64_t kMaxConfigBytes = 1 << 20;

// The value as it would stand on the command line.
Result<std::vector<std::string>> flag_values(const toml::node& node) {
  if (const toml::array* array = node.as_array()) {
    std::vector<std::string> values;
    for (const toml::node& element : *array) {
      OCTET_ASSIGN_OR_RETURN(std::vector<std::string> value, flag_values(element));
      values.insert(values.end(), value.begin(), value.end());
    }
    return values;
  }
  if (const auto* text = node.as_string()) return std::vector<std::string>{text->get()};
  if (node.is_value()) {
    std::ostringstream text;
    node.visit([&text](const auto& value) {
      if constexpr (toml::is_value<decltype(value)>) text << value;
    });
    return std::vector<std::string>{text.str()};
  }
  return invalid_input("a value or an array of values is expected");
}

// Whether `app` or a command below it has the flag.
bool is_known(const CLI::App& app, const std::string& flag) {
  const auto commands = app.get_subcommands({});
  return app.get_option_no_throw(flag) != nullptr ||
         std::ranges::any_of(commands, [&flag](const CLI::App* command) { return is_known(*command, flag); });
}

bool known_to_any_command(const CLI::App& app, const std::string& flag) {
  const CLI::App* root = &app;
  while (root->get_parent() != nullptr) root = root->get_parent();
  return is_known(*root, flag);
}

std::optional<std::string> guess_key(const CLI::App& app, const std::string& key) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    names.insert(names.end(), option->get_lnames().begin(), option->get_lnames().end());
  }
  return nearest(key, names);
}

Status apply_key(const std::string& path, const std::string& key, const toml::node& node, CLI::App& app) {
  const auto line = node.source().begin.line;
  CLI::Option* option = app.get_option_no_throw("--" + key);
  if (option == nullptr) {
    if (known_to_any_command(app, "--" + key)) return ok_status();
    const auto guess = guess_key(app, key);
    return invalid_input("{}:{}: unknown key \"{}\"{}", path, line, key,
                         guess ? fmt::format("; did you mean \"{}\"?", *guess) : "");
  }
  if (option->count() > 0) return ok_status();  // the command line beats the file
  const auto values = flag_values(node);
  if (!values.ok()) return invalid_input("{}:{}: {}: {}", path, line, key, values.status().message());
  try {
    option->add_result(*values);
    option->run_callback();
  } catch (const CLI::ParseError& error) {
    return invalid_input("{}:{}: {}", path, line, error.what());
  }
  return ok_status();
}

}  // namespace

Status apply_config_file(const std::string& path, CLI::App& app) {
  OCTET_ASSIGN_OR_RETURN(const std::string text, read_whole_file(path, {.max_bytes = kMaxConfigBytes}));
  toml::table table;
  try {
    table = toml::parse(text, path);
  } catch (const toml::parse_error& error) {
    return toml_error(path, error);
  }
  for (const auto& [key, node] : table) {
    OCTET_RETURN_IF_ERROR(apply_key(path, std::string(key.str()), node, app));
  }
  return ok_status();
}

}  // namespace octet
