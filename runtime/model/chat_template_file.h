// A chat template as data: how the messages of a conversation become pieces of text and control tokens. One TOML file
// each.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/status.h"

namespace octet {

// One element of a turn.
struct TemplatePart {
  enum class Kind {
    kText,   // encoded on its own; "{content}" stands for the message
    kToken,  // the token with this very text
    kBos,
    kEos,
  };
  Kind kind = Kind::kText;
  std::string text;
};

using TemplateParts = std::vector<TemplatePart>;

// How a checkpoint shows that it wants this template.
struct TemplateSigns {
  std::vector<std::string> contains;  // all of these are in the checkpoint's own (Jinja) template …
  std::vector<std::string> lacks;     // … and none of these
  std::vector<std::string> tokens;    // without a template of its own: the tokenizer has all of these; empty: never
};

struct ChatTemplateSpec {
  std::string name;                     // the file's, without .toml
  std::string description;              // one line for people
  TemplateParts begin;                  // once, in front of everything
  std::optional<TemplateParts> system;  // absent: the system's text goes in front of the first user message …
  std::string system_separator;         // … with this between them
  TemplateParts user;
  TemplateParts assistant;
  TemplateParts answer;  // after the last message: what opens the answer
  std::optional<std::string>
      join;  // consecutive messages of one role become one with this between; absent: they do not
  // Text after a token is encoded as if it stood alone, whatever the tokenizer's configuration says ("legacy").
  bool text_stands_alone = false;
  TemplateSigns recognise;
};

// Reads one file; the errors are kInvalidInput with its path and, where known, the line.
Result<ChatTemplateSpec> read_chat_template(const std::filesystem::path& path);

}  // namespace octet
