#include "runtime/service/grpc/generation_methods.h"

#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include <algorithm>
#include <array>

namespace octet {
namespace {

constexpr size_t kMaxSmallMessageBytes = 4 << 10;

constexpr std::array<std::string_view, 4> kLargeMessages{
    "/octet.v1.Generation/Generate",
    "/octet.v1.Generation/GenerateStream",
    "/octet.v1.Generation/Tokenize",
    "/octet.v1.Generation/Detokenize",
};

// In the order of octet.proto.
constexpr int kGenerate = 0, kGenerateStream = 1, kTokenize = 2, kDetokenize = 3;

// A conversation in its smallest pieces, and token ids one a field.
constexpr int kMaxFields = 64 << 10;

// How many of `left` fields are not used up by what is read of a message of this type.
int count_down_fields(google::protobuf::io::CodedInputStream& in, const google::protobuf::Descriptor& type, int left) {
  using google::protobuf::FieldDescriptor;
  using google::protobuf::internal::WireFormatLite;
  while (left > 0) {
    const uint32_t tag = in.ReadTag();
    if (tag == 0) break;
    --left;
    const FieldDescriptor* field = type.FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag));
    const bool is_message = field != nullptr && field->type() == FieldDescriptor::TYPE_MESSAGE &&
                            WireFormatLite::GetTagWireType(tag) == WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
    if (!is_message) {
      if (!WireFormatLite::SkipField(&in, tag)) break;
      continue;
    }
    uint32_t size = 0;
    if (!in.ReadVarint32(&size) || size > static_cast<uint32_t>(in.BytesUntilTotalBytesLimit())) break;
    const auto outer = in.PushLimit(static_cast<int>(size));
    left = count_down_fields(in, *field->message_type(), left);
    if (left > 0 && !in.ConsumedEntireMessage()) break;
    in.PopLimit(outer);
  }
  return left;
}

template <typename Response, typename Method>
auto* unary_handler(Method method) {
  return new grpc::internal::CallbackUnaryHandler<grpc::ByteBuffer, Response>(
      [method](grpc::CallbackServerContext* context, const grpc::ByteBuffer* request, Response* response) {
        return method(*context, *request, *response);
      });
}

}  // namespace

grpc::Status check_num_fields(grpc::ByteBuffer& bytes, const google::protobuf::Descriptor& type) {
  if (bytes.Length() <= kMaxFields) return grpc::Status::OK;  // no field is smaller than a byte
  grpc::ProtoBufferReader reader(&bytes);
  google::protobuf::io::CodedInputStream in(&reader);
  in.SetTotalBytesLimit(static_cast<int>(bytes.Length()));
  if (count_down_fields(in, type, kMaxFields) > 0) return grpc::Status::OK;
  return rpc_error(
      grpc::StatusCode::INVALID_ARGUMENT,
      fmt::format("the bytes are no message of this method: more than {} fields, those of its parts included",
                  kMaxFields));
}

GenerationMethods::GenerationMethods() {
  MarkMethodRawCallback(
      kGenerate, unary_handler<v1::GenerateResponse>([this](auto&... arguments) { return generate(arguments...); }));
  MarkMethodRawCallback(kGenerateStream,
                        new grpc::internal::CallbackServerStreamingHandler<grpc::ByteBuffer, v1::GenerateChunk>(
                            [this](grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
                              return generate_stream(*context, *request);
                            }));
  MarkMethodRawCallback(
      kTokenize, unary_handler<v1::TokenizeResponse>([this](auto&... arguments) { return tokenize(arguments...); }));
  MarkMethodRawCallback(kDetokenize, unary_handler<v1::DetokenizeResponse>(
                                         [this](auto&... arguments) { return detokenize(arguments...); }));
}

size_t GenerationMethods::max_message_bytes(std::string_view path, size_t max_of_large) {
  const bool large = std::ranges::find(kLargeMessages, path) != kLargeMessages.end();
  return large ? max_of_large : std::min(max_of_large, kMaxSmallMessageBytes);
}

}  // namespace octet
