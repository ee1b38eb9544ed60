// GenerationMethods: octet.v1.Generation as gRPC calls it. Those of its methods that take large messages are given the
// bytes: gRPC's own threads, which everybody waits for, do not read them.
#pragma once

#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "runtime/service/grpc/rpc_status.h"
#include "runtime/service/octet.grpc.pb.h"

namespace octet {

// INTERNAL where the bytes are no such message.
template <typename Message>
grpc::Status read_message(grpc::ByteBuffer bytes, Message& message) {
  const bool good = grpc::SerializationTraits<Message>::Deserialize(&bytes, &message).ok();
  return good ? grpc::Status::OK : not_a_message();
}

using MethodsOfSmallMessages =
    v1::Generation::WithCallbackMethod_GetModelInfo<v1::Generation::WithCallbackMethod_GetServerInfo<
        v1::Generation::WithCallbackMethod_Abort<v1::Generation::Service>>>;

class GenerationMethods : public MethodsOfSmallMessages {
 public:
  // How large a message to a method may be, of whichever service.
  static size_t max_message_bytes(std::string_view path, size_t max_of_large);

 protected:
  GenerationMethods();

 private:
  virtual grpc::ServerUnaryReactor* generate(grpc::CallbackServerContext& context, const grpc::ByteBuffer& request,
                                             v1::GenerateResponse& response) = 0;
  virtual grpc::ServerWriteReactor<v1::GenerateChunk>* generate_stream(grpc::CallbackServerContext& context,
                                                                       const grpc::ByteBuffer& request) = 0;
  virtual grpc::ServerUnaryReactor* tokenize(grpc::CallbackServerContext& context, const grpc::ByteBuffer& request,
                                             v1::TokenizeResponse& response) = 0;
  virtual grpc::ServerUnaryReactor* detokenize(grpc::CallbackServerContext& context, const grpc::ByteBuffer& request,
                                               v1::DetokenizeResponse& response) = 0;
};

}  // namespace octet
