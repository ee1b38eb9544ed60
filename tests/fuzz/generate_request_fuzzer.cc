// Any bytes for a GenerateRequest are no message, are refused with one line that names a field, or are a request that
// the engine takes and whose answer can begin.
#include <cstddef>
#include <cstdint>

#include "runtime/base/check.h"
#include "runtime/service/grpc/request_parser.h"
#include "runtime/service/grpc/rpc_status.h"
#include "runtime/service/tenants.h"
#include "runtime/session/output_assembler.h"

namespace octet {
namespace {

// The demo model's facts, with a short context.
ServedModel make_model() {
  static const auto tokenizer = Tokenizer::open(OCTET_SOURCE_DIR "/configs/models/octet-demo");
  auto chat_template = ChatTemplate::load(OCTET_SOURCE_DIR "/configs/chat-templates", kDefaultChatTemplate);
  OCTET_CHECK(tokenizer.ok() && chat_template.ok());
  ServedModel model;
  model.name = "octet-demo";
  model.config.vocab_size = 4096;
  model.config.eos_ids = {2};
  model.tokenizer = &*tokenizer;
  model.chat_template = *std::move(chat_template);
  model.bounds = {.vocab_size = 4096, .max_context = 256, .max_num_samples = 4, .max_logprobs = 5};
  return model;
}

class NoSink final : public OutputSink {
 public:
  void push(const GenerateCall&, OutputChunk) override {}
};

void check_refusal(const Status& status) {
  OCTET_CHECK(status.code() == StatusCode::kInvalidInput);
  OCTET_CHECK(status.message().find('\n') == std::string::npos, "{}", status.message());
  v1::StatusDetails details;
  OCTET_CHECK(details.ParseFromString(rpc_status(status).error_details()) && details.details_size() == 1);
}

// Whatever salt a request names, the cached prefixes of a tenant that has its own are nobody else's.
void check_policy(const GenerateCall& job) {
  const std::string& salt = job.request.params.cache_salt;
  OCTET_CHECK(salt.size() <= 128);
  const TenantPolicy own{.name = "a"}, other{.name = "b"}, sharing{.name = "c", .own_cache = false};
  OCTET_CHECK(cache_salt_text(own, salt) != cache_salt_text(other, salt));
  OCTET_CHECK(cache_salt_text(own, "") != cache_salt_text(sharing, salt));
  OCTET_CHECK(cache_salt_text(sharing, salt).empty() == salt.empty());
}

}  // namespace
}  // namespace octet

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const octet::ServedModel model = octet::make_model();
  octet::v1::GenerateRequest request;
  if (!request.ParseFromArray(data, static_cast<int>(size))) return 0;
  const auto job = octet::parse_generate(request, model, {});
  if (!job.ok()) {
    octet::check_refusal(job.status());
    return 0;
  }
  OCTET_CHECK(octet::validate_request(job->request, model.bounds).ok());
  octet::check_policy(*job);
  octet::NoSink sink;
  const auto answer = octet::OutputAssembler::create(*job, model.tokenizer, sink);
  if (!answer.ok()) octet::check_refusal(answer.status());
  return 0;
}
