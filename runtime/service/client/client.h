// ServiceClient: a client of octet.v1.Generation.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/checkpoint/generation_params.h"
#include "runtime/engine/prompt_source.h"
#include "runtime/engine/request.h"
#include "runtime/engine/step_seconds.h"

namespace octet {

struct ClientOptions {
  std::string server = {};         // HOST[:PORT], [IPv6][:PORT] or unix:PATH
  std::string tls_ca_file = {};    // whom to trust, PEM; empty: a plain connection
  std::string tls_cert_file = {};  // who we are, for a server that asks (mTLS), with tls_key_file
  std::string tls_key_file = {};
  std::string api_key_file = {};  // the bearer token; empty: none
  bool insecure_key = false;      // send it over a plain connection that leaves this machine, too
};

// The codes of gRPC, with its numbers.
enum class RpcCode {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

// How a call ended.
struct RpcStatus {
  RpcCode code = RpcCode::kOk;
  Status status;            // one line that begins with the server's address
  bool has_advice = false;  // the server says when another try may be worth it

  bool ok() const { return code == RpcCode::kOk; }
};

// What a service serves.
struct ServedModelInfo {
  std::string name;
  int64_t vocab_size = 0;
  int64_t max_context = 0;
  bool has_tokenizer = false;
  GenerationDefaults defaults;
};

// What serves it.
struct ServingInfo {
  std::string device;        // as a backend's name: "cpu", "cuda"
  StepSeconds step_seconds;  // where the time of the service's steps went since its start
};

// An output that was cut off: the service goes on after these tokens.
struct ResumePoint {
  std::vector<TokenId> token_ids;
  int64_t sample_index = 0;
};

struct ClientCall {
  std::string request_id = {};  // empty: the server makes one
  std::string model = {};       // name of the served model; empty: whatever is served
  PromptSource input = {};
  GenerationParams params = {};             // every one is sent; the engine's bounds are the server's to check
  std::optional<ResumePoint> resume = {};   // with num_samples 1, and a seed unless greedy
  std::chrono::milliseconds deadline = {};  // of the whole call; 0: none
};

// A part of one sample's output. text is exactly what the tokens release.
struct ReceivedChunk {
  int64_t index = 0;  // of the sample
  std::string text = {};
  std::vector<TokenId> token_ids = {};
  std::vector<Logprobs> logprobs = {};        // of each token, if asked for
  FinishReason finish = FinishReason::kNone;  // of the last chunk of the sample
  std::optional<std::string> stop_text = {};
  std::optional<TokenId> stop_token_id = {};
  uint64_t seed = 0;
  int64_t num_prompt_tokens = 0;  // in the last chunk of the sample
  int64_t num_cached_tokens = 0;  // of the prompt: taken from the prefix cache; in the last chunk
};

// Calls a service. Streams are many at once, and told of by poll(): no thread of ours, no lock. One thread at a time.
class ServiceClient {
 public:
  using StreamId = uint64_t;
  struct StreamCallbacks {
    std::function<void(const ReceivedChunk&)> on_chunk;
    std::function<void(const RpcStatus&)> on_end;  // once, the last call
  };

  // kInvalidInput where a file cannot be read. Connects with the first call.
  static Result<std::unique_ptr<ServiceClient>> create(const ClientOptions& options);
  ~ServiceClient();  // cancels what is under way, without callbacks

  const std::string& server() const;

  // Errors of these are one line, and kInvalidInput where the server says that the request is wrong.
  // model: the name that it must have; empty: any.
  RpcStatus get_model_info(const std::string& model, ServedModelInfo& info);
  RpcStatus get_serving_info(ServingInfo& info);
  RpcStatus tokenize(const PromptSource& source, std::vector<TokenId>& ids);
  RpcStatus abort(const std::string& request_id);

  // Begins an answer. kInvalidInput for a value that the message cannot carry; then no callback comes.
  Result<StreamId> generate(const ClientCall& call, StreamCallbacks callbacks);
  // Gives an answer up; it ends with kCancelled. Nothing if it has ended.
  void cancel(StreamId id);
  // Waits until something happens to a stream, at most so long, and tells its callbacks, which may call generate and
  // cancel. Whether anything happened.
  bool poll(std::chrono::milliseconds timeout);
  // Streams that have not ended.
  size_t num_streams() const;

 private:
  class Impl;
  explicit ServiceClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// "UNAVAILABLE", …
std::string_view rpc_code_name(RpcCode code);

}  // namespace octet
