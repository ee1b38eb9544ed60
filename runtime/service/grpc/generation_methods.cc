#include "runtime/service/grpc/generation_methods.h"

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

template <typename Response, typename Method>
auto* unary_handler(Method method) {
  return new grpc::internal::CallbackUnaryHandler<grpc::ByteBuffer, Response>(
      [method](grpc::CallbackServerContext* context, const grpc::ByteBuffer* request, Response* response) {
        return method(*context, *request, *response);
      });
}

}  // namespace

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
