#include "runtime/service/grpc/generation_call.h"

namespace octet {

Status GenerationCall::set_job(GenerationJob job, const ServedModel& model) {
  job_ = std::move(job);
  job_->request_id = request_id_;
  job_->arrival = arrival_;
  last_tokens_.resize(static_cast<size_t>(job_->request.params.num_samples));
  OCTET_ASSIGN_OR_RETURN(Answer answer, Answer::create(*job_, model, *sink_));
  answer_.emplace(std::move(answer));
  return ok_status();
}

Request GenerationCall::take_request() {
  std::vector<TokenId> prompt = std::exchange(job_->request.prompt, {});
  std::vector<TokenId> resumed = std::exchange(job_->request.resumed_output, {});
  Request request = job_->request;
  request.prompt = std::move(prompt);
  request.resumed_output = std::move(resumed);
  return request;
}

}  // namespace octet
