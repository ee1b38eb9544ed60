// The chunks that an engine's events become, whoever reads them.
#include "runtime/session/output_assembler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/session/call_end.h"
#include "tests/model/model_fixture.h"

namespace octet {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

struct Collected final : OutputSink {
  void push(const GenerateCall&, OutputChunk chunk) override { chunks.push_back(std::move(chunk)); }

  std::string text() const {
    std::string all;
    for (const OutputChunk& chunk : chunks) all += chunk.text;
    return all;
  }
  std::vector<OutputChunk> chunks;
};

const Tokenizer& tokenizer() {
  static const auto opened = Tokenizer::open(testing::demo_model());
  OCTET_CHECK(opened.ok(), "{}", opened.status().message());
  return *opened;
}

GenerateCall call_of(const std::string& prompt) {
  GenerateCall call;
  call.request.prompt = tokenizer().with_special_tokens(tokenizer().encode(prompt));
  call.request.params.max_tokens = 100;
  call.request.params.sampling.seed = 1;
  return call;
}

FinishEvent end_of(int32_t sample, FinishReason reason) {
  FinishEvent event;
  event.id = {1, sample};
  event.reason = reason;
  return event;
}

// Tells the tokens until the text has met a stop string, then the end.
void tell(OutputAssembler& assembler, const std::vector<TokenId>& ids, FinishReason last, int32_t sample = 0) {
  FinishReason reason = last;
  for (size_t i = 0; i < ids.size(); ++i) {
    const FinishReason finish = i + 1 == ids.size() ? last : FinishReason::kNone;
    if (assembler.on_token({.id = {1, sample}, .token_id = ids[i], .finish = finish})) {
      reason = FinishReason::kStop;
      break;
    }
  }
  assembler.on_finish(end_of(sample, reason));
}

TEST(OutputAssembler, ATokenThatEndsTheOutputIsListedButNoText) {
  for (const FinishReason reason : {FinishReason::kEos, FinishReason::kStop}) {
    GenerateCall call = call_of("In the beginning");
    call.return_token_ids = true;
    Collected sink;
    auto assembler = OutputAssembler::create(call, &tokenizer(), sink);
    ASSERT_TRUE(assembler.ok()) << assembler.status().message();
    std::vector<TokenId> ids = tokenizer().encode("was the word");
    const std::string text = tokenizer().decode(ids);
    const TokenId end = ids.front();  // a word as any other
    ids.push_back(end);
    tell(*assembler, ids, reason);
    EXPECT_TRUE(assembler->done());
    EXPECT_EQ(sink.text(), " " + text);  // goes on with the prompt
    std::vector<TokenId> listed;
    for (const OutputChunk& chunk : sink.chunks) {
      for (const OutputToken& token : chunk.tokens) {
        EXPECT_FALSE(token.is_prompt);
        EXPECT_EQ(token.piece, tokenizer().piece(token.id));
        listed.push_back(token.id);
      }
    }
    EXPECT_EQ(listed, ids);
    const OutputChunk& last = sink.chunks.back();
    ASSERT_TRUE(last.finish);
    EXPECT_EQ(last.finish->reason, reason);
    EXPECT_EQ(last.stop_token_id, reason == FinishReason::kStop ? std::optional(end) : std::nullopt);
    EXPECT_EQ(last.stop_text, std::nullopt);
  }
}

TEST(OutputAssembler, TheTextEndsBeforeAStopString) {
  GenerateCall call = call_of("In the beginning");
  call.request.params.stop = {"the wo"};
  for (const bool include : {false, true}) {
    call.include_stop = include;
    Collected sink;
    auto assembler = OutputAssembler::create(call, &tokenizer(), sink);
    ASSERT_TRUE(assembler.ok()) << assembler.status().message();
    tell(*assembler, tokenizer().encode("was the word and more"), FinishReason::kLength);
    EXPECT_EQ(sink.text(), include ? " was the wo" : " was ");
    EXPECT_EQ(sink.chunks.back().stop_text, "the wo");
    EXPECT_EQ(sink.chunks.back().finish->reason, FinishReason::kStop);
  }
}

TEST(OutputAssembler, WithoutTextTokensAreAllThereIs) {
  GenerateCall call = call_of("In the beginning");
  call.request.params.num_samples = 2;
  call.request.params.logprobs = 0;
  Collected sink;
  auto assembler = OutputAssembler::create(call, nullptr, sink);
  ASSERT_TRUE(assembler.ok()) << assembler.status().message();
  tell(*assembler, {5, 6}, FinishReason::kLength, 1);
  EXPECT_FALSE(assembler->done());
  tell(*assembler, {7}, FinishReason::kLength, 0);
  EXPECT_TRUE(assembler->done());
  ASSERT_THAT(sink.chunks, SizeIs(3));  // the last token travels with the end
  EXPECT_EQ(sink.chunks[0].index, 1);
  EXPECT_EQ(sink.chunks[2].index, 0);
  EXPECT_THAT(sink.chunks[2].tokens, SizeIs(1));
  EXPECT_EQ(sink.chunks[2].tokens[0].piece, "");
  EXPECT_EQ(sink.text(), "");
  call.request.params.stop = {"x"};
  EXPECT_EQ(OutputAssembler::create(call, nullptr, sink).status().message(), "stop: the model has no tokenizer");
}

// The engine has the request's tokens, and the answer those that it shows.
TEST(OutputAssembler, ThePromptIsShownWhenItsTokensHaveLeft) {
  for (const bool scored : {false, true}) {
    GenerateCall call = call_of("In the beginning");
    const std::vector<TokenId> prompt = call.request.prompt;
    const Logprobs none;
    call.echo = !scored;
    call.return_token_ids = true;
    if (scored) call.request.prompt_logprobs = 0;
    Collected sink;
    auto assembler = OutputAssembler::create(call, &tokenizer(), sink);
    ASSERT_TRUE(assembler.ok()) << assembler.status().message();
    EXPECT_EQ(take_request(call).prompt, prompt);
    EXPECT_THAT(call.request.prompt, IsEmpty());
    for (size_t i = 1; scored && i < prompt.size(); ++i) {
      assembler->on_prompt_logprobs({.position = static_cast<int64_t>(i), .token_id = prompt[i], .logprobs = none});
    }
    tell(*assembler, tokenizer().encode("was the word"), FinishReason::kLength);
    EXPECT_EQ(sink.text(), scored ? " was the word" : "In the beginning was the word");
    std::vector<TokenId> shown;
    for (const OutputChunk& chunk : sink.chunks) {
      for (const OutputToken& token : chunk.tokens) {
        if (token.is_prompt) shown.push_back(token.id);
      }
    }
    EXPECT_EQ(shown, prompt);
  }
}

TEST(OutputAssembler, NothingIsSentWhereNothingIsToBeTold) {
  GenerateCall call = call_of("In the beginning");
  call.request.params.stop = {" was the word"};
  Collected sink;
  auto assembler = OutputAssembler::create(call, &tokenizer(), sink);
  ASSERT_TRUE(assembler.ok()) << assembler.status().message();
  const std::vector<TokenId> ids = tokenizer().encode("was the");
  for (const TokenId id : ids) EXPECT_FALSE(assembler->on_token({.id = {1, 0}, .token_id = id}));
  EXPECT_THAT(sink.chunks, IsEmpty());  // all of it may be the stop string yet
  assembler->on_finish(end_of(0, FinishReason::kLength));
  ASSERT_THAT(sink.chunks, SizeIs(1));
  EXPECT_EQ(sink.chunks[0].text, " was the");
}

TEST(OutputAssembler, ResumedOutputIsReadAndNotSaidAgain) {
  GenerateCall call = call_of("In the beginning");
  const std::vector<TokenId> ids = tokenizer().encode("was the word");
  call.request.resumed_output.assign(ids.begin(), ids.end() - 1);
  Collected sink;
  auto assembler = OutputAssembler::create(call, &tokenizer(), sink);
  ASSERT_TRUE(assembler.ok()) << assembler.status().message();
  tell(*assembler, {ids.back()}, FinishReason::kLength);
  const std::string whole = " " + tokenizer().decode(ids);
  EXPECT_TRUE(whole.ends_with(sink.text()) && sink.text().size() < whole.size()) << sink.text();
  call.request.params.stop_token_ids = {ids.front()};
  EXPECT_EQ(OutputAssembler::create(call, &tokenizer(), sink).status().message(),
            fmt::format("resume.token_ids token {} has ended the output", ids.front()));
}

TEST(CallEnd, ARefusalNamesItsField) {
  const CallEnd bad = refusal(invalid_field("sampling.top_p", "1.5 is not in (0, 1]: no"));
  EXPECT_EQ(bad.code, CallEndCode::kInvalidArgument);
  EXPECT_EQ(bad.field, "sampling.top_p");
  EXPECT_EQ(bad.message, "1.5 is not in (0, 1]: no");
  const CallEnd broken = refusal(failed("out: of memory"));
  EXPECT_EQ(broken.code, CallEndCode::kInternal);
  EXPECT_EQ(broken.field, "");
  EXPECT_EQ(broken.message, "out: of memory");
  EXPECT_TRUE(refusal(ok_status()).ok());
}

}  // namespace
}  // namespace octet
