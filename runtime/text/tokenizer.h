// Text to token ids and back, with the tokenizer of a checkpoint.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/base/tensor.h"
#include "runtime/text/added_tokens.h"

namespace octet {

enum class TokenKind {
  kText,     // its piece is text, with U+2581 for a space
  kByte,     // one byte; its piece is <0xNN>
  kControl,  // structure, not text: <s>, </s>, added tokens marked special
  kUnknown,  // <unk>
  kNone,     // no token has this id
};

struct EncodeOptions {
  // Tokens that this text may not produce, beyond the control tokens: it is encoded as if they did not exist.
  std::span<const TokenId> excluded = {};
  // The text follows an added token that is not part of it. Most tokenizers encode such text as if it stood alone, with
  // a space in front; those whose configuration says "legacy": false leave the space out.
  bool after_added_token = false;
  // Control tokens that the text spells are found, too, as added tokens are.
  bool parse_special = false;
  // Added tokens that look like a format's marks ("<|im_start|>", "[INST]") are not found, whether or not they are
  // marked special.
  bool marks_are_text = false;
};

// Wraps sentencepiece. Immutable after opening; every call is thread-safe.
class Tokenizer {
 public:
  // `path`: a model directory or what stands for one (find_tokenizer_file, and the added and special tokens of
  // tokenizer_config.json, special_tokens_map.json and added_tokens.json where there are any), or a tokenizer.model
  // file alone. Errors, also for damaged files, are kInvalidInput: one line that starts with the file's path.
  static Result<Tokenizer> open(const std::filesystem::path& path);
  // The same from the bytes of a tokenizer.model, without added tokens; the error has no path.
  static Result<Tokenizer> parse(std::string_view model);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // Ids of `text`, without BOS. Text never produces a control token: "</s>" is four characters. Added tokens that are
  // not special are found in it as Hugging Face does: first of all, the text between them then encoded piece by piece.
  // NUL is a character like any other. Each byte that is not part of valid UTF-8 counts as U+FFFD. The caller limits
  // the length; time grows as n log n at worst.
  std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options = {}) const;
  // The same of text that somebody gives as a prompt: the marks of a chat format are all text in it, special or not,
  // or, with parse_special, all tokens.
  std::vector<TokenId> encode_prompt(std::string_view text, bool parse_special) const {
    return encode(text, {.parse_special = parse_special, .marks_are_text = !parse_special});
  }

  // The added tokens and control tokens that `text` spells, and the stretches between them.
  std::vector<TextSegment> split_at_tokens(std::string_view text) const;

  // The text of the ids: control tokens vanish, bytes that never form UTF-8 become U+FFFD, and the space that encoding
  // put in front is taken away. Ids that no token has give no text. See StreamingDetokenizer, which this runs.
  std::string decode(std::span<const TokenId> ids) const;

  // 1 + the largest id. A model's own vocabulary may be larger, to fill its tables up.
  int64_t vocab_size() const;
  TokenKind kind(TokenId id) const;
  // The token as the vocabulary writes it ("▁Hello", "<0x0A>", "</s>"); empty where no token has the id.
  std::string_view piece(TokenId id) const;
  // What a token of kind kUnknown stands for in text.
  std::string_view unknown_surface() const;
  // Whether encoding puts a space in front of a text.
  bool adds_leading_space() const;

  // `ids` of a text with what the checkpoint puts around a text: BOS in front unless its configuration says no or
  // the text spells it there, EOS behind where it says so.
  std::vector<TokenId> with_special_tokens(std::vector<TokenId> ids) const;

  // The special tokens: as the checkpoint's configuration names them, else as tokenizer.model does.
  std::optional<TokenId> bos_id() const;
  std::optional<TokenId> eos_id() const;
  std::optional<TokenId> unk_id() const;
  std::optional<TokenId> pad_id() const;
  // Whether with_special_tokens puts them there.
  bool adds_bos() const;
  bool adds_eos() const;
  // The id of a token that templates may name: a control token or an added token, by its exact text.
  std::optional<TokenId> id_of_control(std::string_view content) const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace octet
