// The generation parameters as clients send them: each row of their table, walked through octet.proto.
#include "runtime/service/grpc/param_fields.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/service/grpc/request_parser.h"
#include "tests/checkpoint/param_cases.h"

namespace octet::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// A model without a tokenizer: prompts are tokens.
ServedModel make_model() {
  ServedModel model;
  model.config.vocab_size = 100;
  model.config.eos_ids = {2};
  model.bounds = {.vocab_size = 100, .max_context = 64, .max_num_samples = 4, .max_logprobs = 5};
  return model;
}

v1::GenerateRequest make_request() {
  v1::GenerateRequest request;
  request.mutable_tokens()->add_ids(5);
  return request;
}

TEST(ParamFields, WhatIsWrittenIsRead) {
  for (const GenerationParam& param : generation_params()) {
    GenerationParams written, read;
    ASSERT_TRUE(set_generation_param(param.name, good_value(param), written).ok());
    v1::GenerateRequest request;
    ASSERT_TRUE(write_param_fields(written, request).ok());
    v1::GenerateRequest received;
    ASSERT_TRUE(received.ParseFromString(request.SerializeAsString()));
    read_param_fields(received, read);
    EXPECT_THAT(differences(read, written), IsEmpty());
    EXPECT_THAT(differences(read, {}), ElementsAre(param.name));
  }
}

TEST(ParamFields, WhatIsNotSetStays) {
  GenerationParams params;
  params.sampling.temperature = 0.25;
  params.sampling.top_k = 9;
  params.max_tokens = 7;
  params.num_samples = 2;
  const GenerationParams before = params;
  read_param_fields({}, params);
  EXPECT_THAT(differences(params, before), IsEmpty());
}

TEST(ParamFields, ARequestThatSetsNothingHasTheModelsDefaults) {
  ServedModel model = make_model();
  model.defaults.min_p = 0.125;
  const auto job = parse_generate(make_request(), model, {});
  ASSERT_TRUE(job.ok()) << job.status().message();
  GenerationParams expected;
  expected.sampling.min_p = 0.125;
  expected.sampling.seed = job->request.params.sampling.seed;  // drawn
  EXPECT_TRUE(expected.sampling.seed);
  EXPECT_THAT(differences(job->request.params, expected), IsEmpty());
}

TEST(ParamFields, DefaultsAreTold) {
  GenerationDefaults defaults;
  defaults.top_p = 0.5;
  const v1::SamplingParams told = sampling_defaults(defaults);
  EXPECT_EQ(told.top_p(), 0.5F);
  for (const bool is_told : {told.has_temperature(), told.has_top_k(), told.has_min_p(), told.has_repetition_penalty(),
                             told.has_frequency_penalty(), told.has_presence_penalty(), told.has_n()}) {
    EXPECT_TRUE(is_told);
  }
  EXPECT_EQ(told.n(), 1);
  EXPECT_FALSE(told.has_seed());
  EXPECT_TRUE(told.logit_bias().empty());
}

// The same bounds as everywhere, and the error has the field's path.
TEST(ParamFields, BoundsAreTheTables) {
  const ServedModel model = make_model();
  int num_ranges = 0;
  for (const GenerationParam& param : generation_params()) {
    const RangeEnds ends = ends_of(param.range);
    const auto parse = [&](double value) {
      GenerationParams params;
      EXPECT_TRUE(set_number(param, value, params));
      v1::GenerateRequest request = make_request();
      EXPECT_TRUE(write_param_fields(params, request).ok());
      return parse_generate(request, model, {}).status();
    };
    GenerationParams any;
    if (ends.good.empty() || !set_number(param, 0, any)) continue;
    ++num_ranges;
    for (const double good : ends.good) EXPECT_TRUE(parse(good).ok()) << param.name << " " << parse(good).message();
    for (const double bad : ends.bad) EXPECT_EQ(parse(bad).field(), param.proto) << bad;
  }
  EXPECT_GE(num_ranges, 7);
}

TEST(ParamFields, ANumberTooLargeForItsFieldIsNamed) {
  for (const char* name : {"top_k", "num_samples", "max_tokens", "min_tokens", "logprobs"}) {
    GenerationParams params;
    ASSERT_TRUE(set_generation_param(name, int64_t{1} << 40, params).ok());
    v1::GenerateRequest request;
    const Status status = write_param_fields(params, request);
    EXPECT_EQ(status.field(), name);
    const bool is_signed = std::string_view(name) == "top_k" || std::string_view(name) == "num_samples";
    EXPECT_EQ(status.message(), fmt::format("{} 1099511627776 is not in {}", name,
                                            is_signed ? "[-2147483648, 2147483647]" : "[0, 4294967295]"));
  }
}

// What the engine refuses under its own names has its path here.
TEST(ParamFields, OtherFieldsAreNamedByTheirPaths) {
  const ServedModel model = make_model();
  const auto field_of = [&](const auto& spoil) {
    v1::GenerateRequest request = make_request();
    spoil(request);
    return parse_generate(request, model, {}).status().field();
  };
  EXPECT_EQ(field_of([](auto& r) { r.mutable_response()->set_prompt_logprobs(6); }), "response.prompt_logprobs");
  EXPECT_EQ(field_of([](auto& r) { r.set_priority(101); }), "priority");
  EXPECT_EQ(field_of([](auto& r) { r.mutable_sampling()->set_n(5); }), "sampling.n");
  EXPECT_EQ(field_of([](auto& r) { r.mutable_stop()->set_max_new_tokens(0); }), "stop.max_new_tokens");
  EXPECT_EQ(field_of([](auto& r) { r.mutable_stop()->set_min_new_tokens(64); }), "stop.min_new_tokens");
  EXPECT_EQ(field_of([](auto& r) { r.mutable_stop()->add_stop_token_ids(100); }), "stop.stop_token_ids");
  EXPECT_EQ(field_of([](auto& r) { r.mutable_response()->set_logprobs(6); }), "response.logprobs");
  EXPECT_EQ(field_of([](auto& r) { r.mutable_tokens()->set_ids(0, 100); }), "tokens");
  EXPECT_EQ(field_of([](auto& r) { r.set_text("a"); }), "text");
}

}  // namespace
}  // namespace octet::testing
