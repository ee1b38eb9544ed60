#include "runtime/text/tokenizer.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <map>
#include <system_error>
#include <utility>

#include "runtime/base/foreign_file.h"
#include "runtime/base/model_folder.h"
#include "runtime/base/quote.h"
#include "runtime/base/read_file.h"
#include "runtime/text/added_tokens.h"
#include "runtime/text/detokenizer.h"
#include "runtime/text/sentencepiece_file.h"
#include "runtime/text/text_cutter.h"

namespace octet {
namespace {

constexpr int64_t kMaxModelBytes = int64_t{256} << 20;
constexpr size_t kMinPartBytes = 4096;  // of long text that is encoded part by part
// Appended to a serialised ModelProto it is merged into it: normalizer_spec { add_dummy_prefix: false }.
constexpr std::string_view kNoDummyPrefix("\x1A\x02\x18\x00", 4);

struct Token {
  std::string piece;
  TokenKind kind = TokenKind::kNone;
};

TokenKind kind_of(const sentencepiece::SentencePieceProcessor& processor, int id) {
  if (processor.IsControl(id)) return TokenKind::kControl;
  if (processor.IsUnknown(id)) return TokenKind::kUnknown;
  return processor.IsByte(id) ? TokenKind::kByte : TokenKind::kText;
}

// As the marks of chat formats are written.
bool is_mark(std::string_view content) {
  return content.size() > 2 &&
         ((content.starts_with('<') && content.ends_with('>')) || (content.starts_with('[') && content.ends_with(']')));
}

Status load(std::string_view model, sentencepiece::SentencePieceProcessor* processor) {
  const auto status = processor->LoadFromSerializedProto(model);
  if (status.ok()) return ok_status();
  std::string reason = status.ToString();
  std::replace(reason.begin(), reason.end(), '\n', ' ');
  return invalid_input("damaged: {}", reason);
}

}  // namespace

// The special tokens, and which of them stand around a text.
struct SpecialIds {
  std::optional<TokenId> bos, eos, unk, pad;
  bool add_bos = true;
  bool add_eos = false;
};

struct Tokenizer::Impl {
  // Puts no space in front of text: encode_segment does, where one is due.
  sentencepiece::SentencePieceProcessor processor;
  SentencePieceTraits traits;
  TextCutter cutter;
  bool legacy = true;         // text after an added token gets the space, too
  std::vector<Token> tokens;  // by id
  std::string unknown_surface;
  std::vector<TokenId> byte_ids;  // of the 256 byte pieces; empty without byte fallback
  std::vector<AddedToken> added;
  std::vector<AddedToken> control_pieces;  // those of the sentencepiece model that are not among the added ones
  std::map<std::string, TokenId, std::less<>> controls;
  SpecialIds special;

  static Result<std::unique_ptr<Impl>> load_model(std::string_view model);
  Status add_tokens(AddedTokenFiles files);
  std::optional<TokenId> find_piece(const std::string& piece) const;
  Status choose_special(const AddedTokenFiles& files);
  std::vector<const AddedToken*> tokens_in_text(const EncodeOptions& options) const;
  bool is_barred(TokenId id, std::span<const TokenId> excluded) const;
  void encode_segment(std::string_view text, bool after_added_token, std::span<const TokenId> excluded,
                      std::vector<TokenId>* ids) const;
  void encode_part(std::string_view text, std::span<const TokenId> excluded, std::vector<TokenId>* ids) const;
  void append_as_bytes(std::string_view piece, std::vector<TokenId>* ids) const;
};

Result<std::unique_ptr<Tokenizer::Impl>> Tokenizer::Impl::load_model(std::string_view model) {
  auto impl = std::make_unique<Impl>();
  OCTET_ASSIGN_OR_RETURN(impl->traits, read_sentencepiece_traits(model));
  OCTET_RETURN_IF_ERROR(load(std::string(model).append(kNoDummyPrefix), &impl->processor));
  const auto& processor = impl->processor;
  if (impl->traits.byte_fallback) impl->byte_ids.resize(256);
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    const std::string& piece = processor.IdToPiece(id);
    const TokenKind kind = kind_of(processor, id);
    if (kind == TokenKind::kControl) {
      impl->controls.emplace(piece, id);
      if (!piece.empty()) impl->control_pieces.push_back({.id = id, .content = piece, .special = true});
    }
    if (kind == TokenKind::kByte) impl->byte_ids.at(byte_of_piece(piece)) = id;
    if (kind == TokenKind::kText) impl->cutter.add_piece(surface_of_piece(piece));
    impl->tokens.push_back({piece, kind});
  }
  impl->unknown_surface = processor.DecodeIds({processor.unk_id()});
  const auto id_or_none = [](int id) { return id < 0 ? std::nullopt : std::optional<TokenId>(id); };
  impl->special.bos = id_or_none(processor.bos_id());
  impl->special.eos = id_or_none(processor.eos_id());
  impl->special.unk = id_or_none(processor.unk_id());
  impl->special.pad = id_or_none(processor.pad_id());
  return impl;
}

std::optional<TokenId> Tokenizer::Impl::find_piece(const std::string& piece) const {
  if (const auto control = controls.find(piece); control != controls.end()) return control->second;
  const int id = processor.PieceToId(piece);
  if (id == processor.unk_id() && processor.IdToPiece(id) != piece) return std::nullopt;
  return id;
}

// A name that no token has leaves the role empty, as many a checkpoint names a padding token that it lacks; but what is
// to stand around every text must be there.
Status Tokenizer::Impl::choose_special(const AddedTokenFiles& files) {
  special.add_bos = files.add_bos;
  special.add_eos = files.add_eos;
  const auto choose = [&](const std::optional<std::string>& name, std::optional<TokenId>& id) {
    if (name) id = name->empty() ? std::nullopt : find_piece(*name);
  };
  choose(files.names.bos, special.bos);
  choose(files.names.eos, special.eos);
  choose(files.names.unk, special.unk);
  choose(files.names.pad, special.pad);
  const auto check = [&](const char* key, bool is_needed, const std::optional<std::string>& name,
                         const std::optional<TokenId>& id) {
    if (!is_needed || id || !name || name->empty()) return ok_status();
    return invalid_input("{}: {} is {}, which is no token of the tokenizer", files.names_file.string(), key,
                         quote(*name));
  };
  OCTET_RETURN_IF_ERROR(check("bos_token", special.add_bos, files.names.bos, special.bos));
  return check("eos_token", special.add_eos, files.names.eos, special.eos);
}

Status Tokenizer::Impl::add_tokens(AddedTokenFiles files) {
  added = std::move(files.tokens);
  legacy = files.legacy;
  for (const AddedToken& token : added) {
    if (token.id >= static_cast<TokenId>(tokens.size())) tokens.resize(static_cast<size_t>(token.id) + 1);
    Token& entry = tokens[static_cast<size_t>(token.id)];
    // <unk> is usually listed, too, as special; its text stays what sentencepiece says.
    if (entry.kind == TokenKind::kUnknown && entry.piece == token.content) continue;
    entry = {token.content, token.special ? TokenKind::kControl : TokenKind::kText};
    controls.insert_or_assign(token.content, token.id);
  }
  std::erase_if(control_pieces, [this](const AddedToken& piece) {
    return std::ranges::any_of(added, [&piece](const AddedToken& token) { return token.content == piece.content; });
  });
  return choose_special(files);
}

std::vector<const AddedToken*> Tokenizer::Impl::tokens_in_text(const EncodeOptions& options) const {
  std::vector<const AddedToken*> found;
  for (const AddedToken& token : added) {
    const bool is_text = token.special ? !options.parse_special : options.marks_are_text && is_mark(token.content);
    if (is_text || std::ranges::find(options.excluded, token.id) != options.excluded.end()) continue;
    found.push_back(&token);
  }
  if (!options.parse_special) return found;
  for (const AddedToken& piece : control_pieces) found.push_back(&piece);
  return found;
}

bool Tokenizer::Impl::is_barred(TokenId id, std::span<const TokenId> excluded) const {
  return tokens[static_cast<size_t>(id)].kind == TokenKind::kControl ||
         std::ranges::find(excluded, id) != excluded.end();
}

void Tokenizer::Impl::encode_segment(std::string_view text, bool after_added_token, std::span<const TokenId> excluded,
                                     std::vector<TokenId>* ids) const {
  if (text.empty()) return;
  const size_t num_first = cutter.first_part(text, kMinPartBytes);
  const bool adds_space = traits.add_dummy_prefix && (legacy || !after_added_token);
  encode_part(std::string(adds_space ? " " : "").append(text, 0, num_first), excluded, ids);
  text.remove_prefix(num_first);
  while (!text.empty()) {
    const std::string_view part = text.substr(0, cutter.first_part(text, kMinPartBytes));
    encode_part(part, excluded, ids);
    text.remove_prefix(part.size());
  }
}

// Sentencepiece itself makes no control piece of text, but it does make user-defined pieces, which a checkpoint may
// have declared special, and single characters that are control pieces. Such a token is spelt out in bytes.
void Tokenizer::Impl::encode_part(std::string_view text, std::span<const TokenId> excluded,
                                  std::vector<TokenId>* ids) const {
  std::vector<int> part_ids;
  const auto status = processor.Encode(text, &part_ids);
  OCTET_CHECK(status.ok(), "sentencepiece: {}", status.ToString());
  for (const TokenId id : part_ids) {
    if (is_barred(id, excluded)) {
      append_as_bytes(processor.IdToPiece(id), ids);
    } else {
      ids->push_back(id);
    }
  }
}

void Tokenizer::Impl::append_as_bytes(std::string_view piece, std::vector<TokenId>* ids) const {
  if (byte_ids.empty()) {
    ids->push_back(processor.unk_id());
    return;
  }
  for (const char byte : surface_of_piece(piece)) ids->push_back(byte_ids[static_cast<unsigned char>(byte)]);
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::parse(std::string_view model) {
  OCTET_ASSIGN_OR_RETURN(auto impl, Impl::load_model(model));
  return Tokenizer(std::move(impl));
}

Result<Tokenizer> Tokenizer::open(const std::filesystem::path& path) {
  OCTET_ASSIGN_OR_RETURN(const std::filesystem::path folder, resolve_model_folder(path));
  std::error_code error;
  const bool is_dir = std::filesystem::is_directory(folder, error);
  std::filesystem::path file = is_dir ? find_tokenizer_file(folder) : folder;
  if (file.empty()) file = folder / "tokenizer.model";  // which is then said to be missing
  OCTET_ASSIGN_OR_RETURN(const std::string model, read_text_file(file, kMaxModelBytes));
  auto impl = Impl::load_model(model);
  if (!impl.ok()) return refuse_file(file, model, FileContent::kBinary, impl.status());
  if (is_dir) {
    OCTET_ASSIGN_OR_RETURN(AddedTokenFiles added, read_added_tokens(folder));
    OCTET_RETURN_IF_ERROR((*impl)->add_tokens(std::move(added)));
  }
  return Tokenizer(*std::move(impl));
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  std::vector<TokenId> ids;
  bool after_added_token = options.after_added_token;
  for (const TextSegment& segment : split_at_added_tokens(text, impl_->tokens_in_text(options))) {
    if (segment.token >= 0) {
      ids.push_back(segment.token);
    } else {
      impl_->encode_segment(segment.text, after_added_token, options.excluded, &ids);
    }
    after_added_token = segment.token >= 0;
  }
  return ids;
}

std::vector<TextSegment> Tokenizer::split_at_tokens(std::string_view text) const {
  return split_at_added_tokens(text, impl_->tokens_in_text({.parse_special = true}));
}

std::string Tokenizer::decode(std::span<const TokenId> ids) const {
  StreamingDetokenizer detokenizer(*this, {.strip_leading_space = adds_leading_space()});
  std::string text;
  for (const TokenId id : ids) text += detokenizer.add(id);
  return text + detokenizer.flush();
}

int64_t Tokenizer::vocab_size() const { return static_cast<int64_t>(impl_->tokens.size()); }

TokenKind Tokenizer::kind(TokenId id) const {
  return id < 0 || id >= vocab_size() ? TokenKind::kNone : impl_->tokens[static_cast<size_t>(id)].kind;
}

std::string_view Tokenizer::piece(TokenId id) const {
  return id < 0 || id >= vocab_size() ? std::string_view() : impl_->tokens[static_cast<size_t>(id)].piece;
}

std::string_view Tokenizer::unknown_surface() const { return impl_->unknown_surface; }

bool Tokenizer::adds_leading_space() const { return impl_->traits.add_dummy_prefix; }

std::vector<TokenId> Tokenizer::with_special_tokens(std::vector<TokenId> ids) const {
  const bool has_bos = !ids.empty() && bos_id() == ids.front();
  if (adds_bos() && !has_bos) ids.insert(ids.begin(), *bos_id());
  if (adds_eos()) ids.push_back(*eos_id());
  return ids;
}

std::optional<TokenId> Tokenizer::bos_id() const { return impl_->special.bos; }
std::optional<TokenId> Tokenizer::eos_id() const { return impl_->special.eos; }
std::optional<TokenId> Tokenizer::unk_id() const { return impl_->special.unk; }
std::optional<TokenId> Tokenizer::pad_id() const { return impl_->special.pad; }
bool Tokenizer::adds_bos() const { return impl_->special.add_bos && bos_id(); }
bool Tokenizer::adds_eos() const { return impl_->special.add_eos && eos_id(); }

std::optional<TokenId> Tokenizer::id_of_control(std::string_view content) const {
  const auto it = impl_->controls.find(content);
  return it == impl_->controls.end() ? std::nullopt : std::optional<TokenId>(it->second);
}

}  // namespace octet
