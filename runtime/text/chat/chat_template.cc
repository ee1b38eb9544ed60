#include "runtime/text/chat/chat_template.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "runtime/base/hash.h"
#include "runtime/base/read_file.h"
#include "runtime/text/chat/chat_rendering.h"
#include "runtime/text/chat/jinja_text.h"

namespace octet {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int64_t kMaxFileBytes = int64_t{64} << 20;

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

// folded: the checkpoint's own template.
bool is_recognised(const TemplateSigns& signs, const std::optional<std::string>& folded, const Tokenizer& tokenizer) {
  if (folded) {
    const uint64_t hash = hash_text(*folded);
    return std::ranges::any_of(signs.jinja, [&](const KnownJinja& known) {
      return known.hash == hash && known.num_bytes == std::ssize(*folded);
    });
  }
  const auto in_tokenizer = [&](const std::string& token) { return tokenizer.id_of_control(token).has_value(); };
  return !signs.tokens.empty() && std::ranges::all_of(signs.tokens, in_tokenizer);
}

// --- Turns in tokens -------------------------------------------------------------------------------------------------

std::optional<TokenId> token_id(const TemplatePart& part, const Tokenizer& tokenizer) {
  switch (part.kind) {
    case TemplatePart::Kind::kText:
    case TemplatePart::Kind::kMessage:
      return std::nullopt;
    case TemplatePart::Kind::kToken:
      return tokenizer.id_of_control(part.text);
    case TemplatePart::Kind::kBos:
      return tokenizer.bos_id();
    case TemplatePart::Kind::kEos:
      return tokenizer.eos_id();
  }
  return std::nullopt;
}

// Appends the parts of a rendering to ids. The template's own text may spell tokens, as in what a Jinja template
// prints; messages never do.
class PromptWriter {
 public:
  PromptWriter(const ChatTemplateSpec& spec, const Tokenizer& tokenizer) : spec_(spec), tokenizer_(tokenizer) {
    for (const TemplateParts& parts : {spec.begin, spec.system, spec.user, spec.assistant, spec.answer}) {
      for (const TemplatePart& part : parts) exclude(part);
    }
  }

  Status write(const TemplatePart& part) {
    if (part.kind == TemplatePart::Kind::kMessage) {
      text_ += part.text;
    } else if (part.kind == TemplatePart::Kind::kText) {
      for (const TextSegment& segment : tokenizer_.split_at_tokens(part.text)) {
        segment.token < 0 ? void(text_ += segment.text) : write_token(segment.token);
      }
    } else {
      const auto id = token_id(part, tokenizer_);
      if (!id) return invalid_input("chat template {}: the tokenizer has no token '{}'", spec_.name, part.text);
      write_token(*id);
    }
    return ok_status();
  }

  // What has been written since the last token is one text.
  void end_text() {
    if (text_.empty()) return;
    const bool continues = after_token_ && !spec_.text_stands_alone;
    const auto ids = tokenizer_.encode(text_, {.excluded = excluded_, .after_added_token = continues});
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    text_.clear();
    after_token_ = false;
  }

  std::vector<TokenId> take() {
    end_text();
    return std::move(ids_);
  }

 private:
  void exclude(const TemplatePart& part) {
    if (const auto id = token_id(part, tokenizer_)) excluded_.push_back(*id);
    if (part.kind != TemplatePart::Kind::kText) return;
    for (const TextSegment& segment : tokenizer_.split_at_tokens(part.text)) {
      if (segment.token >= 0) excluded_.push_back(segment.token);
    }
  }

  void write_token(TokenId id) {
    end_text();
    ids_.push_back(id);
    after_token_ = true;
  }

  const ChatTemplateSpec& spec_;
  const Tokenizer& tokenizer_;
  std::vector<TokenId> excluded_;  // the template's own tokens, which no message may spell
  std::string text_;
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
  const auto folded = own.text ? std::optional(fold_jinja(*own.text)) : std::nullopt;
  for (const fs::path& file : template_files(template_dir)) {
    OCTET_ASSIGN_OR_RETURN(ChatTemplateSpec spec, read_chat_template(file));
    if (is_recognised(spec.recognise, folded, tokenizer)) return ChatTemplate(std::move(spec));
  }
  if (!own.text) return load(template_dir, kDefaultChatTemplate);
  return invalid_input(
      "{}: its chat template is none of those known to render as {}; --chat-template NAME takes one of them "
      "nevertheless, --chat-template FILE one that you write",
      own.file.string(), known_names(template_dir));
}

Result<std::vector<TokenId>> ChatTemplate::encode(std::span<const ChatMessage> messages, const Tokenizer& tokenizer,
                                                  bool continue_last) const {
  OCTET_RETURN_IF_ERROR(check_conversation(messages, continue_last));
  OCTET_ASSIGN_OR_RETURN(const TemplateParts parts, render_conversation(spec_, messages, continue_last));
  PromptWriter writer(spec_, tokenizer);
  for (const TemplatePart& part : parts) {
    if (spec_.text_stands_alone && !part.goes_on) writer.end_text();
    OCTET_RETURN_IF_ERROR(writer.write(part));
  }
  return writer.take();
}

std::optional<TokenId> ChatTemplate::answer_end_id(const Tokenizer& tokenizer) const {
  bool after_content = false;
  for (const TemplatePart& part : spec_.assistant) {
    if (after_content) return token_id(part, tokenizer);
    after_content = part.kind == TemplatePart::Kind::kText && part.text.find("{content") != std::string::npos;
  }
  return std::nullopt;
}

}  // namespace octet
