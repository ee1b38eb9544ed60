// The tokens that a checkpoint adds to its tokenizer.model, as Hugging Face's files list them, and where the ordinary
// ones among them stand in a text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/base/tensor.h"

namespace octet {

struct AddedToken {
  TokenId id = 0;
  std::string content;       // never empty
  bool special = false;      // a control token: no text produces it
  bool strip_left = false;   // swallows the whitespace before it ("lstrip")
  bool strip_right = false;  // and after it ("rstrip")
  bool single_word = false;  // only where no letter, digit or '_' touches it
};

// The special tokens by their texts, as the files name them. Unset: they say nothing; empty: there is none.
struct SpecialTokenNames {
  std::optional<std::string> bos, eos, unk, pad;
};

struct AddedTokenFiles {
  std::vector<AddedToken> tokens;  // ids ascending, each once
  SpecialTokenNames names;
  std::filesystem::path names_file;  // that has the last word about the names
  bool add_bos = true;               // what a text begins with ("add_bos_token") …
  bool add_eos = false;              // … and ends with ("add_eos_token")
  // Whether text after an added token is encoded as if it stood alone, with a space in front (the key "legacy").
  bool legacy = true;
};

// Reads `added_tokens_decoder` of tokenizer_config.json and added_tokens.json in `model_dir`; a file that is not there
// adds nothing. A token known only from added_tokens.json is special when tokenizer_config.json or
// special_tokens_map.json gives it a role (bos_token, additional_special_tokens, …).
// Special tokens are named by tokenizer_config.json; where that has no added_tokens_decoder (older writers),
// special_tokens_map.json overrides it, as in Hugging Face's tokenizers. Errors are kInvalidInput with the file's path.
Result<AddedTokenFiles> read_added_tokens(const std::filesystem::path& model_dir);

// A stretch of text between added tokens (token < 0), or one occurrence of an added token.
struct TextSegment {
  std::string_view text;
  TokenId token = -1;
};

// Splits `text` at the occurrences of `tokens`: the leftmost first, of two that start together the longer.
std::vector<TextSegment> split_at_added_tokens(std::string_view text, std::span<const AddedToken* const> tokens);

}  // namespace octet
