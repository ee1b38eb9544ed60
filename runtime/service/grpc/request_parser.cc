#include "runtime/service/grpc/request_parser.h"

#include <array>
#include <charconv>
#include <utility>

#include "runtime/base/utf8.h"
#include "runtime/service/grpc/prompt_parser.h"
#include "runtime/text/detokenizer.h"

namespace octet {
namespace {

constexpr int64_t kMaxCacheSaltBytes = 128;

// The decimal number that a client wrote, rather than the float nearest to it: 0.7 is the 0.7 of the command line.
double widen(float value) {
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  double wide = value;  // NaN and infinity, which are refused later, read back as such, too
  std::from_chars(text.data(), end, wide);
  return wide;
}

Status check_count(std::string_view field, int64_t count, int64_t most) {
  if (count <= most) return ok_status();
  return invalid_input("{}: {} entries are more than {}", field, count, most);
}

// What the engine calls a field, and its path here. Its messages begin with the name.
struct FieldName {
  std::string_view engine, path;
};
constexpr std::array kFieldNames = std::to_array<FieldName>({
    {"logit_bias", "sampling.logit_bias"},
    {"repetition_penalty", "sampling.repetition_penalty"},
    {"frequency_penalty", "sampling.frequency_penalty"},
    {"presence_penalty", "sampling.presence_penalty"},
    {"temperature", "sampling.temperature"},
    {"top_k", "sampling.top_k"},
    {"top_p", "sampling.top_p"},
    {"min_p", "sampling.min_p"},
    {"num_samples", "sampling.n"},
    {"max_tokens", "stop.max_new_tokens"},
    {"min_tokens", "stop.min_new_tokens"},
    {"stop_token_ids", "stop.stop_token_ids"},
    {"logprobs", "response.logprobs"},
    {"prompt_logprobs", "response.prompt_logprobs"},
    {"resumed output", "resume.token_ids"},
    {"sample index", "resume.sample_index"},
    {"priority", "priority"},
});

std::string_view input_field(const v1::GenerateRequest& request) {
  if (request.has_tokens()) return "tokens";
  return request.has_chat() ? "chat" : "text";
}

Status name_field(const Status& status, const v1::GenerateRequest& request) {
  if (status.ok()) return status;
  const std::string_view message = status.message();
  for (const FieldName& name : kFieldNames) {
    if (!message.starts_with(name.engine) || message.size() == name.engine.size()) continue;
    const std::string_view rest = message.substr(name.engine.size());
    if (rest.starts_with(' ')) return invalid_input("{}: {}", name.path, rest.substr(1));
    if (rest.starts_with(": ")) return invalid_input("{}{}", name.path, rest);
  }
  return invalid_input("{}: {}", input_field(request), message);
}

Status parse_sampling(const v1::SamplingParams& from, const ServiceLimits& limits, GenerationParams& params) {
  SamplingParams& to = params.sampling;
  if (from.has_temperature()) to.temperature = widen(from.temperature());
  if (from.has_top_p()) to.top_p = widen(from.top_p());
  if (from.has_min_p()) to.min_p = widen(from.min_p());
  if (from.has_repetition_penalty()) to.repetition_penalty = widen(from.repetition_penalty());
  if (from.has_frequency_penalty()) to.frequency_penalty = widen(from.frequency_penalty());
  if (from.has_presence_penalty()) to.presence_penalty = widen(from.presence_penalty());
  if (from.has_top_k()) to.top_k = from.top_k();
  if (from.has_n()) params.num_samples = from.n();
  if (from.has_seed()) to.seed = from.seed();
  OCTET_RETURN_IF_ERROR(
      check_count("sampling.logit_bias", static_cast<int64_t>(from.logit_bias_size()), limits.max_logit_bias_entries));
  for (const auto& [id, bias] : from.logit_bias()) to.logit_bias[id] = widen(bias);
  return ok_status();
}

Status parse_stopping(const v1::Stopping& from, const ServiceLimits& limits, GenerationParams& params) {
  OCTET_RETURN_IF_ERROR(check_count("stop.stop", from.stop_size(), limits.max_stop_strings));
  OCTET_RETURN_IF_ERROR(check_count("stop.stop_token_ids", from.stop_token_ids_size(), limits.max_stop_strings));
  for (const std::string& stop : from.stop()) {
    if (stop.empty()) return invalid_input("stop.stop: a stop string is empty");
    if (std::ssize(stop) > limits.max_stop_bytes) {
      return invalid_input("stop.stop: {} bytes are more than {}", stop.size(), limits.max_stop_bytes);
    }
    if (!is_valid_utf8(stop)) return invalid_input("stop.stop: [{}] is not UTF-8", params.stop.size());
    params.stop.push_back(stop);
  }
  params.stop_token_ids.assign(from.stop_token_ids().begin(), from.stop_token_ids().end());
  if (from.has_max_new_tokens()) params.max_tokens = from.max_new_tokens();
  params.min_tokens = from.min_new_tokens();
  params.ignore_eos = from.ignore_eos();
  return ok_status();
}

void parse_response(const v1::ResponseOptions& from, GenerateCall& job) {
  if (from.has_logprobs()) job.request.params.logprobs = from.logprobs();
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
    return invalid_input("sampling.n: {} is not 1: an output is resumed alone", request.params.num_samples);
  }
  if (!sampling.greedy() && !sampling.seed) {
    return invalid_input("sampling.seed: is not set, and an output drawn at temperature {} is resumed",
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
  request.params.sampling = model.defaults.sampling();
  request.priority = from.priority();
  request.eos_ids = model.special_tokens().end;
  OCTET_RETURN_IF_ERROR(parse_sampling(from.sampling(), limits, request.params));
  OCTET_RETURN_IF_ERROR(parse_stopping(from.stop(), limits, request.params));
  parse_response(from.response(), job);
  request.params.cache_salt = from.cache_salt();
  if (std::ssize(from.cache_salt()) > kMaxCacheSaltBytes) {
    return invalid_input("cache_salt: {} bytes are more than {}", from.cache_salt().size(), kMaxCacheSaltBytes);
  }
  OCTET_RETURN_IF_ERROR(parse_resume(from, request));
  if (model.tokenizer == nullptr && !request.params.stop.empty()) {
    return invalid_input("stop.stop: the model has no tokenizer");
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
  v1::SamplingParams params;
  params.set_temperature(static_cast<float>(defaults.temperature));
  params.set_top_k(static_cast<int32_t>(defaults.top_k));
  params.set_top_p(static_cast<float>(defaults.top_p));
  params.set_min_p(static_cast<float>(defaults.min_p));
  params.set_repetition_penalty(static_cast<float>(defaults.repetition_penalty));
  params.set_frequency_penalty(0);
  params.set_presence_penalty(0);
  params.set_n(1);
  return params;
}

}  // namespace octet
