// Where a command's text or token ids come from.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/base/tensor.h"

namespace octet {

// TEXT, --file F, or "-" (also: nothing, with a pipe) for standard input.
struct TextInput {
  std::string text;
  std::string file;
  bool given() const { return text_option->count() + file_option->count() > 0; }
  CLI::Option* text_option = nullptr;
  CLI::Option* file_option = nullptr;
};

void declare_text_input(CLI::App& app, TextInput& input, const std::string& name, const std::string& what);

// kInvalidInput where nothing or two things are given, or the file cannot be read.
Result<std::string> read_text_input(const TextInput& input);

// The whole of a file ("-": of standard input), without a byte order mark. kInvalidInput with the path.
Result<std::string> read_input_file(const std::string& path);

// kInvalidInput where standard input cannot be read at all: a folder is.
Status check_standard_input();

// Whether `text`, which is called `what`, can be made into tokens.
Status check_utf8(const std::string& text, const std::string& what);

// Token ids from text: a JSON array of integers, or integers separated by white space.
Result<std::vector<TokenId>> parse_token_ids(const std::string& text);

}  // namespace octet
