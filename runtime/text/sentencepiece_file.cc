#include "runtime/text/sentencepiece_file.h"

#include <cstdint>

#include "runtime/base/utf8.h"

namespace octet {
namespace {

// Field numbers of sentencepiece_model.proto.
constexpr uint64_t kModelPieces = 1;
constexpr uint64_t kModelTrainerSpec = 2;
constexpr uint64_t kModelNormalizerSpec = 3;
constexpr uint64_t kModelDenormalizerSpec = 5;
constexpr uint64_t kPieceText = 1;
constexpr uint64_t kTrainerModelType = 3;
constexpr uint64_t kTrainerWhitespaceAsSuffix = 24;
constexpr uint64_t kTrainerByteFallback = 35;
constexpr uint64_t kNormalizerCharsMap = 2;
constexpr uint64_t kNormalizerAddDummyPrefix = 3;
constexpr uint64_t kNormalizerRemoveExtraWhitespaces = 4;
constexpr uint64_t kNormalizerEscapeWhitespaces = 5;
constexpr uint64_t kModelTypeBpe = 2;

// One field of a protobuf message: `bytes` where the wire type is length-delimited, else `number` (0 for fixed sizes,
// which nothing here needs).
struct Field {
  uint64_t id = 0;
  bool is_bytes = false;
  uint64_t number = 0;
  std::string_view bytes;
};

// Walks the fields of one protobuf message.
class MessageReader {
 public:
  explicit MessageReader(std::string_view message) : rest_(message) {}

  // False at the end of the message and where it is damaged; damaged() tells which.
  bool next(Field* field) {
    if (rest_.empty()) return false;
    uint64_t key = 0;
    *field = {};
    damaged_ = !read_varint(&key) || !read_value(key & 7, field);
    field->id = key >> 3;
    return !damaged_;
  }
  bool damaged() const { return damaged_; }

 private:
  bool read_varint(uint64_t* value) {
    *value = 0;
    for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      *value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }

  bool read_value(uint64_t wire_type, Field* field) {
    switch (wire_type) {
      case 0:
        return read_varint(&field->number);
      case 1:
        return skip(8);
      case 2: {
        uint64_t size = 0;
        field->is_bytes = true;
        if (!read_varint(&size)) return false;
        field->bytes = rest_.substr(0, size);
        return skip(size);
      }
      case 5:
        return skip(4);
      default:
        return false;  // groups: no sentencepiece message has any
    }
  }

  bool skip(uint64_t num_bytes) {
    if (num_bytes > rest_.size()) return false;
    rest_.remove_prefix(num_bytes);
    return true;
  }

  std::string_view rest_;
  bool damaged_ = false;
};

Status damaged() { return invalid_input("damaged: not a sentencepiece model"); }

Status read_piece(std::string_view message) {
  MessageReader reader(message);
  for (Field field; reader.next(&field);) {
    if (field.id == kPieceText && !is_valid_utf8(field.bytes)) return invalid_input("damaged: a piece is not UTF-8");
  }
  return reader.damaged() ? damaged() : ok_status();
}

Status read_trainer(std::string_view message, uint64_t* model_type, SentencePieceTraits* traits) {
  MessageReader reader(message);
  for (Field field; reader.next(&field);) {
    if (field.id == kTrainerModelType) *model_type = field.number;
    if (field.id == kTrainerByteFallback) traits->byte_fallback = field.number != 0;
    if (field.id == kTrainerWhitespaceAsSuffix && field.number != 0) {
      return invalid_input("spaces at the end of pieces (treat_whitespace_as_suffix) are not supported");
    }
  }
  return reader.damaged() ? damaged() : ok_status();
}

// `keeps_spaces` is false at first, as sentencepiece removes extra spaces unless the model says that it does not.
Status read_normalizer(std::string_view message, SentencePieceTraits* traits, bool* keeps_spaces) {
  MessageReader reader(message);
  for (Field field; reader.next(&field);) {
    if (field.id == kNormalizerCharsMap && !field.bytes.empty()) {
      return invalid_input("has a text normaliser; only the identity is supported");
    }
    if (field.id == kNormalizerAddDummyPrefix) traits->add_dummy_prefix = field.number != 0;
    if (field.id == kNormalizerRemoveExtraWhitespaces) *keeps_spaces = field.number == 0;
    if (field.id == kNormalizerEscapeWhitespaces && field.number == 0) {
      return invalid_input("plain spaces in pieces (escape_whitespaces off) are not supported");
    }
  }
  return reader.damaged() ? damaged() : ok_status();
}

}  // namespace

Result<SentencePieceTraits> read_sentencepiece_traits(std::string_view model) {
  SentencePieceTraits traits;
  bool keeps_spaces = false;
  SentencePieceTraits denormalizer;  // of no consequence: only a character map would be
  bool denormalizer_keeps_spaces = false;
  uint64_t model_type = 0;
  MessageReader reader(model);
  for (Field field; reader.next(&field);) {
    if (field.id == kModelPieces) OCTET_RETURN_IF_ERROR(read_piece(field.bytes));
    if (field.id == kModelTrainerSpec) OCTET_RETURN_IF_ERROR(read_trainer(field.bytes, &model_type, &traits));
    if (field.id == kModelNormalizerSpec) OCTET_RETURN_IF_ERROR(read_normalizer(field.bytes, &traits, &keeps_spaces));
    if (field.id == kModelDenormalizerSpec) {
      OCTET_RETURN_IF_ERROR(read_normalizer(field.bytes, &denormalizer, &denormalizer_keeps_spaces));
    }
  }
  if (reader.damaged()) return damaged();
  if (model_type != kModelTypeBpe) return invalid_input("not a sentencepiece BPE model");
  if (!keeps_spaces) return invalid_input("removes extra spaces (remove_extra_whitespaces), which is not supported");
  return traits;
}

}  // namespace octet
