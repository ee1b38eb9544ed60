// A chat template as data: how the messages of a conversation become pieces of text and control tokens. One TOML file
// each.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/status.h"

namespace octet {

// One element of a turn.
struct TemplatePart {
  enum class Kind {
    kText,     // "{content}" stands for the message, "{content|trim}" for it without white space at its ends
    kMessage,  // of a rendering: what stands there
    kToken,    // the token with this very text
    kBos,
    kEos,
  };
  Kind kind = Kind::kText;
  std::string text = {};
  bool goes_on = false;  // of a rendering: with the piece before, it comes from one part of the template
};

using TemplateParts = std::vector<TemplatePart>;

// A Jinja template, as published, that renders as this one does: tests/data/chat-templates compares the two.
struct KnownJinja {
  uint64_t hash = 0;      // of its folded text (jinja_text.h) …
  int64_t num_bytes = 0;  // … and how long that is
  std::string source;     // whose it is
};

// How a checkpoint shows that it wants this template.
struct TemplateSigns {
  std::vector<KnownJinja> jinja;    // its own (Jinja) template is one of these
  std::vector<std::string> tokens;  // without a template of its own: the tokenizer has all of these; empty: never
};

// Where the system's text goes.
enum class SystemPlace {
  kOwnTurn,
  kFirstUser,  // in front of the first user message
  kLastUser,   // in front of the last user message
  kRefused,    // nowhere: a system message is an error
};

struct ChatTemplateSpec {
  std::string name;         // the file's, without .toml
  std::string description;  // one line for people
  TemplateParts begin;      // once, in front of everything
  SystemPlace system_place = SystemPlace::kFirstUser;
  TemplateParts system;                       // of kOwnTurn
  std::string system_separator;               // between it and the user's text
  std::optional<std::string> default_system;  // the system's text where a conversation does not begin with one
  TemplateParts user;
  TemplateParts assistant;
  TemplateParts answer;  // after the last message: what opens the answer
  std::optional<std::string>
      join;                 // consecutive messages of one role become one with this between; absent: they do not
  bool alternates = false;  // after a system message, if any, user and assistant take turns; all else is refused
  // Each text is encoded on its own, with a space in front where the tokenizer puts one, as Mistral's own encoder does
  // it. Otherwise texts that meet are one, as in what a Jinja template prints.
  bool text_stands_alone = false;
  TemplateSigns recognise;
};

// Reads one file; the errors are kInvalidInput with its path and, where known, the line.
Result<ChatTemplateSpec> read_chat_template(const std::filesystem::path& path);

}  // namespace octet
