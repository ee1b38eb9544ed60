// What tests of the service say and hear: requests, answers, and the details of errors.
#pragma once

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/client_unary_call.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/service/health.grpc.pb.h"
#include "runtime/service/octet.grpc.pb.h"

namespace octet::testing {

using Stub = v1::Generation::Stub;
using GrpcCode = grpc::StatusCode;
using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

inline double seconds_since(Clock::time_point begin) { return Seconds(Clock::now() - begin).count(); }

// Greedy, and the end-of-sequence token is one like any other: exactly so many tokens come.
inline v1::GenerateRequest text_request(const std::string& text, uint32_t max_new_tokens) {
  v1::GenerateRequest request;
  request.set_text(text);
  request.mutable_sampling()->set_temperature(0);
  request.mutable_stop()->set_max_new_tokens(max_new_tokens);
  request.mutable_stop()->set_ignore_eos(true);
  return request;
}

// A prompt of `num_tokens` ids that vary with the seed.
inline v1::GenerateRequest token_request(int num_tokens, uint32_t max_new_tokens, uint32_t seed = 1) {
  v1::GenerateRequest request = text_request("", max_new_tokens);
  for (uint32_t i = 0; i < static_cast<uint32_t>(num_tokens); ++i) {
    request.mutable_tokens()->add_ids(static_cast<int32_t>(3 + (seed * 2654435761U + i * 40503U) % 4000));
  }
  return request;
}

// One sample's output.
struct SampleReply {
  std::string text;
  std::vector<int32_t> tokens;        // of the output
  std::vector<v1::Token> prompt;      // tokens of the prompt
  std::vector<v1::Token> token_list;  // of the output
  v1::FinishReason finish = v1::FINISH_REASON_UNSPECIFIED;
  v1::GenerateChunk last;  // the chunk that brought the end
};

struct Reply {
  grpc::Status status;
  std::map<uint32_t, SampleReply> samples;
  int num_chunks = 0;
  uint64_t seed = 0;
  double seconds = 0;                 // until the status came
  std::vector<double> chunk_seconds;  // when each chunk came

  void add(const v1::GenerateChunk& chunk) {
    SampleReply& sample = samples[chunk.index()];
    sample.text += chunk.text();
    for (const v1::Token& token : chunk.tokens()) {
      (token.is_prompt() ? sample.prompt : sample.token_list).push_back(token);
      if (!token.is_prompt()) sample.tokens.push_back(token.id());
    }
    seed = chunk.seed();
    ++num_chunks;
    if (chunk.finish_reason() == v1::FINISH_REASON_UNSPECIFIED) return;
    EXPECT_EQ(sample.finish, v1::FINISH_REASON_UNSPECIFIED) << "a sample ended twice";
    sample.finish = chunk.finish_reason();
    sample.last = chunk;
  }
  const std::string& text() const { return samples.at(0).text; }
  const std::vector<int32_t>& tokens() const { return samples.at(0).tokens; }
};

// What a call carries beside its request.
struct CallOptions {
  std::optional<std::chrono::milliseconds> deadline = {};
  std::string api_key = {};
  std::function<void()> on_first_chunk = {};  // of a stream
};

inline void set_up(grpc::ClientContext& context, const CallOptions& options) {
  if (options.deadline) context.set_deadline(std::chrono::system_clock::now() + *options.deadline);
  if (!options.api_key.empty()) context.AddMetadata("authorization", "Bearer " + options.api_key);
}

// GenerateStream, read to its end.
inline Reply stream(Stub& stub, const v1::GenerateRequest& request, const CallOptions& options = {}) {
  grpc::ClientContext context;
  set_up(context, options);
  const auto begin = Clock::now();
  Reply answer;
  const auto reader = stub.GenerateStream(&context, request);
  for (v1::GenerateChunk chunk; reader->Read(&chunk);) {
    answer.chunk_seconds.push_back(seconds_since(begin));
    answer.add(chunk);
    if (answer.num_chunks == 1 && options.on_first_chunk) options.on_first_chunk();
  }
  answer.status = reader->Finish();
  answer.seconds = seconds_since(begin);
  return answer;
}

// Generate.
inline Reply generate(Stub& stub, const v1::GenerateRequest& request, const CallOptions& options = {}) {
  grpc::ClientContext context;
  set_up(context, options);
  const auto begin = Clock::now();
  Reply answer;
  v1::GenerateResponse response;
  answer.status = stub.Generate(&context, request, &response);
  answer.seconds = seconds_since(begin);
  for (const v1::GenerateChunk& output : response.outputs()) answer.add(output);
  return answer;
}

// A unary call of a method that we have no generated code for.
template <typename Response, typename Request>
grpc::Status call_method(grpc::ChannelInterface& channel, const char* path, const Request& request,
                         Response& response) {
  const grpc::internal::RpcMethod method(path, grpc::internal::RpcMethod::NORMAL_RPC);
  grpc::ClientContext context;
  return grpc::internal::BlockingUnaryCall<Request, Response>(&channel, method, &context, request, &response);
}

// Whether grpc.health.v1 says SERVING of a service ("": the server).
inline bool is_serving(grpc::ChannelInterface& channel, const std::string& service = "") {
  grpc::health::v1::HealthCheckRequest request;
  request.set_service(service);
  grpc::health::v1::HealthCheckResponse response;
  const grpc::Status status = call_method(channel, "/grpc.health.v1.Health/Check", request, response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response.status() == grpc::health::v1::HealthCheckResponse::SERVING;
}

inline v1::StatusDetails details_of(const grpc::Status& status) {
  v1::StatusDetails details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_EQ(details.code(), status.error_code());
  EXPECT_EQ(details.message(), status.error_message());
  return details;
}

// The field that an INVALID_ARGUMENT names in its details; empty: none.
inline std::string bad_field_of(const grpc::Status& status) {
  const v1::StatusDetails details = details_of(status);
  for (const google::protobuf::Any& any : details.details()) {
    v1::BadRequest bad;
    if (any.type_url() != "type.googleapis.com/google.rpc.BadRequest" || !bad.ParseFromString(any.value())) continue;
    if (bad.field_violations_size() == 1) return bad.field_violations(0).field();
  }
  return "";
}

// How long the status advises to wait; none if it does not.
inline std::optional<double> retry_seconds_of(const grpc::Status& status) {
  const v1::StatusDetails details = details_of(status);
  for (const google::protobuf::Any& any : details.details()) {
    v1::RetryInfo retry;
    if (any.type_url() != "type.googleapis.com/google.rpc.RetryInfo" || !retry.ParseFromString(any.value())) continue;
    return static_cast<double>(retry.retry_delay().seconds()) + 1e-9 * retry.retry_delay().nanos();
  }
  return std::nullopt;
}

}  // namespace octet::testing
