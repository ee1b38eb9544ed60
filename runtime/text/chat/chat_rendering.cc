#include "runtime/text/chat/chat_rendering.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/base/utf8.h"

namespace octet {
namespace {

constexpr std::string_view kContent = "{content}";
constexpr std::string_view kTrimmedContent = "{content|trim}";

// --- A conversation in turns -----------------------------------------------------------------------------------------

// Joins consecutive messages of one role.
std::vector<ChatMessage> join_roles(std::span<const ChatMessage> messages, const std::string& separator) {
  std::vector<ChatMessage> turns;
  for (const ChatMessage& message : messages) {
    if (!turns.empty() && turns.back().role == message.role) {
      turns.back().content += separator + message.content;
    } else {
      turns.push_back(message);
    }
  }
  return turns;
}

// Takes the system's turns out and puts their text in front of the first or the last user turn. A conversation that the
// assistant opens gets an empty user turn in front, as formats without a system turn begin with the user.
std::vector<ChatMessage> fold_system(const std::vector<ChatMessage>& turns, const ChatTemplateSpec& spec) {
  std::vector<ChatMessage> folded;
  std::string system;
  bool has_system = false;
  for (const ChatMessage& turn : turns) {
    if (turn.role == "system") {
      system += (system.empty() ? "" : spec.system_separator) + turn.content;
      has_system = true;
    } else {
      folded.push_back(turn);
    }
  }
  if (folded.front().role != "user") folded.insert(folded.begin(), {"user", ""});
  if (!has_system || (system.empty() && !spec.alternates)) return folded;
  if (spec.system_place == SystemPlace::kFirstUser) {
    folded.front().content.insert(0, system + spec.system_separator);
  } else {
    const auto last = std::ranges::find(folded.rbegin(), folded.rend(), "user", &ChatMessage::role);
    last->content.insert(0, system + spec.system_separator);
  }
  return folded;
}

Status check_places(const ChatTemplateSpec& spec, std::span<const ChatMessage> messages) {
  const bool has_system = std::ranges::any_of(messages, [](const auto& message) { return message.role == "system"; });
  if (has_system && spec.system_place == SystemPlace::kRefused) {
    return invalid_input("chat template {}: has no place for a system message", spec.name);
  }
  if (!spec.alternates) return ok_status();
  const size_t first = messages.front().role == "system" ? 1 : 0;
  for (size_t i = first; i < messages.size(); ++i) {
    if (messages[i].role == ((i - first) % 2 == 0 ? "user" : "assistant")) continue;
    return invalid_input("chat template {}: message {}: user and assistant take turns{}, the user first", spec.name,
                         i + 1, spec.system_place == SystemPlace::kRefused ? "" : " after an optional system message");
  }
  return ok_status();
}

// --- Turns in parts --------------------------------------------------------------------------------------------------

// What Python's str.strip, Jinja's trim, takes for white space.
bool is_white_space(std::string_view character) {
  if (character.size() == 1) {
    const char c = character.front();
    return (c >= '\t' && c <= '\r') || (c >= '\x1c' && c <= ' ');
  }
  if (character == "\xC2\x85" || character == "\xC2\xA0" || character == "\xE1\x9A\x80") return true;
  if (character.starts_with("\xE2\x80")) {
    const auto last = static_cast<unsigned char>(character[2]);
    return (last >= 0x80 && last <= 0x8A) || last == 0xA8 || last == 0xA9 || last == 0xAF;
  }
  return character == "\xE2\x81\x9F" || character == "\xE3\x80\x80";
}

std::string trim(std::string_view text) {
  size_t begin = std::string_view::npos, end = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t size = utf8_prefix(text.substr(at)).num_bytes;
    if (!is_white_space(text.substr(at, size))) {
      begin = std::min(begin, at);
      end = at + size;
    }
    at += size;
  }
  return begin < end ? std::string(text.substr(begin, end - begin)) : "";
}

struct Place {
  size_t at = std::string::npos, size = 0;
  bool trims = false;
};

Place place_of_content(const std::string& text) {
  for (const std::string_view place : {kContent, kTrimmedContent}) {
    if (const size_t at = text.find(place); at != std::string::npos) return {at, place.size(), place != kContent};
  }
  return {};
}

// until_content: nothing that follows the message.
void append(const TemplateParts& parts, const std::string& content, bool until_content, TemplateParts* rendered) {
  for (const TemplatePart& part : parts) {
    bool goes_on = false;
    const auto add = [&](TemplatePart::Kind kind, std::string text) {
      if (text.empty()) return;
      rendered->push_back({kind, std::move(text), goes_on});
      goes_on = true;
    };
    const Place place = part.kind == TemplatePart::Kind::kText ? place_of_content(part.text) : Place();
    if (place.at == std::string::npos) {
      add(part.kind, part.text);
      continue;
    }
    add(TemplatePart::Kind::kText, part.text.substr(0, place.at));
    add(TemplatePart::Kind::kMessage, place.trims ? trim(content) : content);
    if (until_content) return;
    add(TemplatePart::Kind::kText, part.text.substr(place.at + place.size));
  }
}

}  // namespace

Result<TemplateParts> render_conversation(const ChatTemplateSpec& spec, std::span<const ChatMessage> messages,
                                          bool continue_last) {
  OCTET_RETURN_IF_ERROR(check_places(spec, messages));
  std::vector<ChatMessage> turns(messages.begin(), messages.end());
  if (spec.default_system && turns.front().role != "system") {
    turns.insert(turns.begin(), {"system", *spec.default_system});
  }
  if (spec.join) turns = join_roles(turns, *spec.join);
  const bool is_folded = spec.system_place == SystemPlace::kFirstUser || spec.system_place == SystemPlace::kLastUser;
  if (is_folded) turns = fold_system(turns, spec);

  TemplateParts rendered = spec.begin;
  for (size_t i = 0; i < turns.size(); ++i) {
    const ChatMessage& turn = turns[i];
    const TemplateParts& parts = turn.role == "system" ? spec.system : turn.role == "user" ? spec.user : spec.assistant;
    append(parts, turn.content, continue_last && i + 1 == turns.size(), &rendered);
  }
  if (!continue_last) append(spec.answer, "", false, &rendered);
  return rendered;
}

}  // namespace octet
