#include "runtime/service/grpc/request_parser.h"

#include <algorithm>
#include <array>
#include <utility>

#include "runtime/base/check.h"
#include "runtime/base/utf8.h"
#include "runtime/service/grpc/param_fields.h"
#include "runtime/service/grpc/prompt_parser.h"
#include "runtime/text/detokenizer.h"

namespace octet {
namespace {

constexpr int64_t kMaxCacheSaltBytes = 128;

Status check_count(std::string_view field, int64_t count, int64_t most) {
  if (count <= most) return ok_status();
  return invalid_field(field, "{} entries are more than {}", count, most);
}

// What the engine calls fields that are no generation parameters, and their paths here.
struct FieldName {
  std::string_view engine, path;
};
constexpr std::array kFieldNames = std::to_array<FieldName>({
    {"prompt_logprobs", "response.prompt_logprobs"},
    {"resumed output", "resume.token_ids"},
    {"sample index", "resume.sample_index"},
    {"priority", "priority"},
});

std::string_view input_field(const v1::GenerateRequest& request) {
  if (request.has_tokens()) return "tokens";
  return request.has_chat() ? "chat" : "text";
}

// The engine's refusal of a field, by the field's path. What it says of no field of ours it says of the prompt.
Status name_field(const Status& status, const v1::GenerateRequest& request) {
  if (status.ok()) return status;
  if (const GenerationParam* param = find_generation_param(status.field())) {
    return invalid_field(param->proto, "{}", status.description());
  }
  const auto* name = std::ranges::find(kFieldNames, status.field(), &FieldName::engine);
  if (name != kFieldNames.end()) return invalid_field(name->path, "{}", status.description());
  return invalid_field(input_field(request), "{}", status.message());
}

Status check_stop_strings(const v1::Stopping& from, const ServiceLimits& limits) {
  for (int i = 0; i < from.stop_size(); ++i) {
    const std::string& stop = from.stop(i);
    if (stop.empty()) return invalid_field("stop.stop", "a stop string is empty");
    if (std::ssize(stop) > limits.max_stop_bytes) {
      return invalid_field("stop.stop", "{} bytes are more than {}", stop.size(), limits.max_stop_bytes);
    }
    if (!is_valid_utf8(stop)) return invalid_field("stop.stop", "[{}] is not UTF-8", i);
  }
  return ok_status();
}

// Before any of it is read.
Status check_sizes(const v1::GenerateRequest& from, const ServiceLimits& limits) {
  OCTET_RETURN_IF_ERROR(
      check_count("sampling.logit_bias", from.sampling().logit_bias_size(), limits.max_logit_bias_entries));
  OCTET_RETURN_IF_ERROR(check_count("stop.stop", from.stop().stop_size(), limits.max_stop_strings));
  OCTET_RETURN_IF_ERROR(check_count("stop.stop_token_ids", from.stop().stop_token_ids_size(), limits.max_stop_strings));
  OCTET_RETURN_IF_ERROR(check_stop_strings(from.stop(), limits));
  if (std::ssize(from.cache_salt()) <= kMaxCacheSaltBytes) return ok_status();
  return invalid_field("cache_salt", "{} bytes are more than {}", from.cache_salt().size(), kMaxCacheSaltBytes);
}

void parse_response(const v1::ResponseOptions& from, GenerateCall& job) {
  if (from.has_prompt_logprobs()) job.request.prompt_logprobs = from.prompt_logprobs();
  job.request.routed_experts = from.routed_experts();
  job.echo = from.echo();
  job.keep_special = from.keep_special();
  job.return_token_ids = from.return_token_ids();
}

Status parse_resume(const v1::GenerateRequest& from, Request& request) {
  if (!from.has_resume()) return ok_status();
  request.resumed_output.assign(from.resume().token_ids().begin(), from.resume().token_ids().end());
  request.first_sample_index = from.resume().sample_index();
  const SamplingParams& sampling = request.params.sampling;
  if (request.params.num_samples != 1) {
    return invalid_field("sampling.n", "{} is not 1: an output is resumed alone", request.params.num_samples);
  }
  if (!sampling.greedy() && !sampling.seed) {
    return invalid_field("sampling.seed", "is not set, and an output drawn at temperature {} is resumed",
                         sampling.temperature);
  }
  return ok_status();
}

// Where nothing is to be generated the engine reads the prompt for its log-probabilities alone. An echo needs no model,
// yet takes the same way: one token is read.
void read_prompt_without_output(const GenerateCall& job, Request& request) {
  if (request.params.max_tokens != 0 || request.prompt.empty()) return;
  const bool nothing_to_score = !request.prompt_logprobs || request.prompt.size() == 1;
  if (job.echo || request.prompt_logprobs) {
    if (nothing_to_score) {
      request.prompt_logprobs.reset();
      request.prompt_logit_positions = {0};
    }
  }
}

}  // namespace

Result<GenerateCall> parse_generate(const v1::GenerateRequest& from, const ServedModel& model,
                                    const ServiceLimits& limits) {
  GenerateCall job;
  job.request_id = from.request_id();
  Request& request = job.request;
  request.params.sampling = model.defaults;
  request.priority = from.priority();
  request.eos_ids = model.special_tokens().end;
  OCTET_RETURN_IF_ERROR(check_sizes(from, limits));
  read_param_fields(from, request.params);
  parse_response(from.response(), job);
  OCTET_RETURN_IF_ERROR(parse_resume(from, request));
  if (model.tokenizer == nullptr && !request.params.stop.empty()) {
    return invalid_field("stop.stop", "the model has no tokenizer");
  }
  OCTET_ASSIGN_OR_RETURN(ParsedPrompt prompt, parse_prompt(from, model, limits));
  request.prompt = std::move(prompt.ids);
  if (prompt.answer_end) request.eos_ids.push_back(*prompt.answer_end);
  job.is_chat = from.has_chat() && !from.chat().continue_last();
  job.include_stop = from.stop().include_stop();
  if (from.stop().time_limit_ms() > 0) job.time_limit = std::chrono::milliseconds(from.stop().time_limit_ms());
  if (!request.params.sampling.seed) request.params.sampling.seed = draw_seed();
  read_prompt_without_output(job, request);
  OCTET_RETURN_IF_ERROR(name_field(validate_request(request, model.bounds), from));
  return job;
}

v1::SamplingParams sampling_defaults(const GenerationDefaults& defaults) {
  v1::GenerateRequest request;
  const Status status = write_param_fields({.sampling = defaults}, request);
  OCTET_CHECK(status.ok(), "{}", status.message());
  return request.sampling();
}

}  // namespace octet
