#include "launcher/text_input.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <nlohmann/json.hpp>
#include <sstream>

#include "runtime/base/read_file.h"
#include "runtime/base/utf8.h"

namespace octet {

void declare_text_input(CLI::App& app, TextInput& input, const std::string& name, const std::string& what) {
  input.text_option = app.add_option(name, input.text, what + "; - reads standard input");
  input.file_option = app.add_option("--file", input.file, "read it from a file")->type_name("FILE");
  input.file_option->excludes(input.text_option);
}

Result<std::string> read_input_file(const std::string& path) {
  auto content = path == "-" ? read_descriptor(STDIN_FILENO, "standard input") : read_whole_file(path);
  if (content.ok()) drop_byte_order_mark(*content);
  return content;
}

Result<std::string> read_text_input(const TextInput& input) {
  if (input.file_option->count() > 0) return read_input_file(input.file);
  if (input.text_option->count() > 0 && input.text != "-") return input.text;
  if (input.text_option->count() == 0 && isatty(STDIN_FILENO) != 0) {
    return invalid_input("no {} given: pass it as an argument, with --file, or on standard input",
                         input.text_option->get_name(true));
  }
  return read_input_file("-");
}

Status check_standard_input() {
  struct stat info {};
  const bool is_folder = fstat(STDIN_FILENO, &info) == 0 && S_ISDIR(info.st_mode);
  return is_folder ? invalid_input("standard input: {}", std::strerror(EISDIR)) : ok_status();
}

Status check_utf8(const std::string& text, const std::string& what) {
  return is_valid_utf8(text) ? ok_status() : invalid_input("{} is not UTF-8 (iconv converts files)", what);
}

Result<std::vector<TokenId>> parse_token_ids(const std::string& text) {
  std::vector<TokenId> ids;
  if (const auto first = text.find_first_not_of(" \t\r\n"); first != std::string::npos && text[first] == '[') {
    const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!json.is_array()) return invalid_input("token ids: not a JSON array");
    for (const auto& element : json) {
      if (!element.is_number_integer() || element < INT32_MIN || element > INT32_MAX) {
        return invalid_input("token ids: {} is not a token id",
                             element.is_structured() ? element.type_name() : element.dump());
      }
      ids.push_back(element.get<TokenId>());
    }
    return ids;
  }
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    TokenId id = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || end != word.data() + word.size()) {
      return invalid_input("token ids: \"{}\" is not a token id", word);
    }
    ids.push_back(id);
  }
  return ids;
}

}  // namespace octet
