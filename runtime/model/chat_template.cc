#include "runtime/model/chat_template.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "runtime/base/read_file.h"

namespace octet {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int64_t kMaxFileBytes = int64_t{64} << 20;
constexpr std::string_view kContent = "{content}";

// --- Which template ------------------------------------------------------------------------------------------------

std::vector<fs::path> template_files(const fs::path& dir) {
  const auto listed = files_of_folder(dir);
  std::vector<fs::path> files = listed.ok() ? *listed : std::vector<fs::path>();
  std::erase_if(files, [](const fs::path& file) { return file.extension() != ".toml"; });
  return files;
}

std::string known_names(const fs::path& dir) {
  std::string names;
  for (const fs::path& file : template_files(dir)) names += (names.empty() ? "" : ", ") + file.stem().string();
  return names.empty() ? fmt::format("none in {}", dir.string()) : names;
}

// A Jinja template and the file that it is from; no text: the checkpoint brings none.
struct CheckpointTemplate {
  std::optional<std::string> text;
  fs::path file;
};

// The value of chat_template: a string, or a list of named ones of which "default" counts. Empty text is never
// recognised.
std::optional<std::string> template_text(const json& value) {
  if (value.is_null()) return std::nullopt;
  if (value.is_string()) return value.get<std::string>();
  for (const json& entry : value) {
    if (entry.is_object() && entry.value("name", json()) == "default" && entry.value("template", json()).is_string()) {
      return entry["template"].get<std::string>();
    }
  }
  return "";
}

Result<CheckpointTemplate> checkpoint_template(const fs::path& model_dir) {
  std::error_code error;
  const fs::path jinja = model_dir / "chat_template.jinja";
  if (fs::exists(jinja, error)) {
    OCTET_ASSIGN_OR_RETURN(std::string text, read_text_file(jinja, kMaxFileBytes));
    return CheckpointTemplate{std::move(text), jinja};
  }
  const fs::path config_path = model_dir / "tokenizer_config.json";
  if (!fs::exists(config_path, error)) return CheckpointTemplate{};
  OCTET_ASSIGN_OR_RETURN(const std::string config_text, read_text_file(config_path, kMaxFileBytes));
  const json config = json::parse(config_text, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) return invalid_input("{}: not a JSON object", config_path.string());
  return CheckpointTemplate{template_text(config.value("chat_template", json())), config_path};
}

bool is_recognised(const TemplateSigns& signs, const std::optional<std::string>& text, const Tokenizer& tokenizer) {
  const auto in_text = [&](const std::string& part) { return text->find(part) != std::string::npos; };
  if (text) {
    return !signs.contains.empty() && std::ranges::all_of(signs.contains, in_text) &&
           std::ranges::none_of(signs.lacks, in_text);
  }
  const auto in_tokenizer = [&](const std::string& token) { return tokenizer.id_of_control(token).has_value(); };
  return !signs.tokens.empty() && std::ranges::all_of(signs.tokens, in_tokenizer);
}

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

// Moves the text of all system turns in front of the first user turn. A conversation that the assistant opens gets an
// empty user turn in front, as formats without a system turn begin with the user.
std::vector<ChatMessage> fold_system(const std::vector<ChatMessage>& turns, const std::string& separator) {
  std::vector<ChatMessage> folded;
  std::string system;
  for (const ChatMessage& turn : turns) {
    if (turn.role == "system") {
      system += (system.empty() ? "" : separator) + turn.content;
    } else {
      folded.push_back(turn);
    }
  }
  if (folded.front().role != "user") folded.insert(folded.begin(), {"user", ""});
  if (!system.empty()) folded.front().content.insert(0, system + separator);
  return folded;
}

// --- Turns in tokens -------------------------------------------------------------------------------------------------

// Appends parts to ids; remembers the first token that the tokenizer lacks.
class PromptWriter {
 public:
  PromptWriter(const ChatTemplateSpec& spec, const Tokenizer& tokenizer) : spec_(spec), tokenizer_(tokenizer) {
    for (const TemplateParts& parts :
         {spec.begin, spec.system.value_or(TemplateParts()), spec.user, spec.assistant, spec.answer}) {
      for (const TemplatePart& part : parts) {
        if (const auto id = token_id(part)) control_ids_.push_back(*id);
      }
    }
  }

  Status write(const TemplateParts& parts, const std::string& content) {
    for (const TemplatePart& part : parts) {
      if (part.kind == TemplatePart::Kind::kText) {
        write_text(part.text, content);
        continue;
      }
      const auto id = token_id(part);
      if (!id) return invalid_input("chat template {}: the tokenizer has no token '{}'", spec_.name, part.text);
      ids_.push_back(*id);
      after_token_ = true;
    }
    return ok_status();
  }

  std::vector<TokenId> take() { return std::move(ids_); }

  std::optional<TokenId> token_id(const TemplatePart& part) const {
    switch (part.kind) {
      case TemplatePart::Kind::kText:
        return std::nullopt;
      case TemplatePart::Kind::kToken:
        return tokenizer_.id_of_control(part.text);
      case TemplatePart::Kind::kBos:
        return tokenizer_.bos_id();
      case TemplatePart::Kind::kEos:
        return tokenizer_.eos_id();
    }
    return std::nullopt;
  }

 private:
  void write_text(std::string text, const std::string& content) {
    const size_t at = text.find(kContent);
    if (at != std::string::npos) text.replace(at, kContent.size(), content);
    const bool continues = after_token_ && !spec_.text_stands_alone;
    const auto text_ids = tokenizer_.encode(text, {.excluded = control_ids_, .after_added_token = continues});
    ids_.insert(ids_.end(), text_ids.begin(), text_ids.end());
    after_token_ = false;
  }

  const ChatTemplateSpec& spec_;
  const Tokenizer& tokenizer_;
  std::vector<TokenId> control_ids_;  // the template's own tokens, which a message may not spell
  std::vector<TokenId> ids_;
  bool after_token_ = false;
};

}  // namespace

Result<ChatTemplate> ChatTemplate::load(const fs::path& template_dir, std::string_view choice) {
  if (choice.ends_with(".toml") || choice.find('/') != std::string_view::npos) {
    OCTET_ASSIGN_OR_RETURN(ChatTemplateSpec spec, read_chat_template(fs::path(choice)));
    return ChatTemplate(std::move(spec));
  }
  const fs::path file = template_dir / fmt::format("{}.toml", choice);
  std::error_code error;
  if (!fs::exists(file, error)) {
    return invalid_input("no chat template '{}'; known: {}", choice, known_names(template_dir));
  }
  OCTET_ASSIGN_OR_RETURN(ChatTemplateSpec spec, read_chat_template(file));
  return ChatTemplate(std::move(spec));
}

Result<ChatTemplate> ChatTemplate::recognise(const fs::path& template_dir, const fs::path& model_dir,
                                             const Tokenizer& tokenizer) {
  OCTET_ASSIGN_OR_RETURN(const CheckpointTemplate own, checkpoint_template(model_dir));
  for (const fs::path& file : template_files(template_dir)) {
    OCTET_ASSIGN_OR_RETURN(ChatTemplateSpec spec, read_chat_template(file));
    if (is_recognised(spec.recognise, own.text, tokenizer)) return ChatTemplate(std::move(spec));
  }
  if (!own.text) return load(template_dir, kDefaultChatTemplate);
  return invalid_input("{}: its chat template is not one of those known ({}); --chat-template uses one nevertheless",
                       own.file.string(), known_names(template_dir));
}

Result<std::vector<TokenId>> ChatTemplate::encode(std::span<const ChatMessage> messages,
                                                  const Tokenizer& tokenizer) const {
  OCTET_RETURN_IF_ERROR(check_conversation(messages));
  std::vector<ChatMessage> turns(messages.begin(), messages.end());
  if (spec_.join) turns = join_roles(turns, *spec_.join);
  if (!spec_.system) turns = fold_system(turns, spec_.system_separator);

  PromptWriter writer(spec_, tokenizer);
  OCTET_RETURN_IF_ERROR(writer.write(spec_.begin, ""));
  for (const ChatMessage& turn : turns) {
    const TemplateParts& parts = turn.role == "system" ? *spec_.system
                                 : turn.role == "user" ? spec_.user
                                                       : spec_.assistant;
    OCTET_RETURN_IF_ERROR(writer.write(parts, turn.content));
  }
  OCTET_RETURN_IF_ERROR(writer.write(spec_.answer, ""));
  return writer.take();
}

std::optional<TokenId> ChatTemplate::answer_end_id(const Tokenizer& tokenizer) const {
  const PromptWriter writer(spec_, tokenizer);
  bool after_content = false;
  for (const TemplatePart& part : spec_.assistant) {
    if (after_content) return writer.token_id(part);
    after_content = part.kind == TemplatePart::Kind::kText && part.text.find(kContent) != std::string::npos;
  }
  return std::nullopt;
}

}  // namespace octet
