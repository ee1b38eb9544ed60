// Tenants: what the policy of a key allows, and what one caller can do to another, or learn of it.
#include "runtime/service/tenants.h"

#include <future>
#include <set>

#include "tests/service/test_server.h"

namespace octet::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

TEST(RateLimit, LetsAMinutesWorthGoAtOnceAndFillsSteadily) {
  RateLimit limit;
  RateLimit::Clock::time_point now{};
  limit.set(60, now);
  for (int i = 0; i < 60; ++i) {
    EXPECT_EQ(limit.wait(now).count(), 0) << i;
    limit.spend(1, now);
  }
  EXPECT_EQ(limit.wait(now), seconds(1));
  now += milliseconds(600);
  EXPECT_EQ(limit.wait(now), milliseconds(400));
  now += milliseconds(400);
  EXPECT_EQ(limit.wait(now), milliseconds(0));
  limit.spend(10, now);  // a debt
  EXPECT_EQ(limit.wait(now), seconds(10));
  now += std::chrono::hours(1);
  limit.spend(60, now);  // no more than a minute's worth has come
  EXPECT_EQ(limit.wait(now), seconds(1));
}

TEST(RateLimit, ThatChangesKeepsWhatWasSpent) {
  RateLimit limit;
  RateLimit::Clock::time_point now{};
  EXPECT_EQ(limit.wait(now), milliseconds(0));
  limit.spend(1e9, now);  // nothing is counted without a limit
  limit.set(60, now);
  limit.spend(50, now);
  limit.set(30, now);
  EXPECT_EQ(limit.wait(now), seconds(42));  // 20 in debt, and one to spend, at one in two seconds
  limit.set(std::nullopt, now);
  EXPECT_EQ(limit.wait(now), milliseconds(0));
}

TEST(CacheSalt, NobodysIsAnothers) {
  const TenantPolicy alice{.name = "alice"}, bob{.name = "bob"}, sharing{.name = "carol", .own_cache = false};
  const std::set<std::string> different = {cache_salt_text(alice, ""),
                                           cache_salt_text(alice, "x"),
                                           cache_salt_text(bob, ""),
                                           cache_salt_text(bob, "x"),
                                           cache_salt_text(sharing, ""),
                                           cache_salt_text(sharing, "x"),
                                           cache_salt_text(sharing, "tenant alice\n"),
                                           cache_salt_text(bob, "alice"),
                                           cache_salt_text(sharing, "alice\n")};
  EXPECT_EQ(different.size(), 9U);
  EXPECT_EQ(cache_salt_text(sharing, ""), "");
  EXPECT_EQ(cache_salt_text(sharing, "x"), cache_salt_text({.name = "dave", .own_cache = false}, "x"));
}

TenantPolicy policy(const std::string& name) { return {.name = name, .key_sha256 = sha256("key of " + name)}; }
CallOptions as(const std::string& name) { return {.api_key = "key of " + name}; }

TestServerOptions with(const std::vector<TenantPolicy>& tenants) {
  TestServerOptions options;
  options.server.tenants = tenants;
  return options;
}

grpc::Status abort_call(Stub& stub, const std::string& id, const CallOptions& options = {}) {
  grpc::ClientContext context;
  set_up(context, options);
  v1::AbortRequest request;
  request.set_request_id(id);
  v1::AbortResponse response;
  return stub.Abort(&context, request, &response);
}

// A call of so many tokens that is held at its first step.
class HeldCall {
 public:
  HeldCall(TestServer& server, const std::string& id, const CallOptions& options = {})
      : server_(server), id_(id), stub_(server.stub()) {
    v1::GenerateRequest request = text_request("a", 20);
    request.set_request_id(id);
    server_.runner().close();
    reply_ = std::async(std::launch::async, [this, request, options] { return stream(*stub_, request, options); });
    server_.runner().await_step();
  }
  Stub& stub() { return *stub_; }
  // Asks for its end until that comes, half a minute at most: a step that is held may be the last of a call before.
  Reply abort_by(Stub& stub, const CallOptions& options = {}) {
    for (const auto begin = Clock::now(); seconds_since(begin) < 30;) {
      EXPECT_TRUE(abort_call(stub, id_, options).ok());
      if (reply_.wait_for(milliseconds(5)) == std::future_status::ready) break;
    }
    return finish();
  }
  Reply finish() {
    server_.runner().open();
    return reply_.get();
  }

 private:
  TestServer& server_;
  const std::string id_;
  std::unique_ptr<Stub> stub_;
  std::future<Reply> reply_;
};

TEST(Tenants, AbortEndsOnlyTheCallsOfTheSameKey) {
  TenantPolicy admin = policy("admin");
  admin.may_abort = true;
  TestServer server(with({policy("alice"), policy("bob"), admin}));
  HeldCall call(server, "mine", as("alice"));
  EXPECT_TRUE(abort_call(call.stub(), "mine", as("bob")).ok());  // it says nothing of another's call
  EXPECT_TRUE(call.finish().status.ok());
  HeldCall second(server, "mine", as("alice"));
  const auto another = server.stub();  // a connection of its own
  EXPECT_EQ(second.abort_by(*another, as("alice")).status.error_code(), GrpcCode::CANCELLED);
  HeldCall third(server, "mine", as("alice"));
  EXPECT_EQ(third.abort_by(*another, as("admin")).status.error_code(), GrpcCode::CANCELLED);
}

TEST(Tenants, WithoutKeysAbortEndsOnlyTheCallsOfTheSameConnection) {
  TestServer server;
  HeldCall call(server, "mine");
  EXPECT_TRUE(abort_call(*server.stub(), "mine").ok());
  EXPECT_TRUE(call.finish().status.ok());
  HeldCall second(server, "mine");
  EXPECT_EQ(second.abort_by(second.stub()).status.error_code(), GrpcCode::CANCELLED);
}

TEST(Tenants, HaveRequestIdsOfTheirOwn) {
  TestServer server(with({policy("alice"), policy("bob")}));
  v1::GenerateRequest request = text_request("a", 2);
  request.set_request_id("mine");
  HeldCall call(server, "mine", as("alice"));
  EXPECT_EQ(stream(call.stub(), request, as("alice")).status.error_code(), GrpcCode::ALREADY_EXISTS);
  auto bobs = std::async(std::launch::async, [&] { return stream(*server.stub(), request, as("bob")); });
  EXPECT_TRUE(call.finish().status.ok());
  EXPECT_TRUE(bobs.get().status.ok());
}

TEST(Tenants, IdsThatTheServerDrawsTellNothing) {
  TestServer server;
  std::set<std::string> ids;
  for (int i = 0; i < 20; ++i) {
    const std::string id = stream(*server.stub(), text_request("a", 1)).samples.at(0).last.request_id();
    EXPECT_THAT(id, MatchesRegex("octet-[0-9a-f]{32}"));
    ids.insert(id);
  }
  EXPECT_EQ(ids.size(), 20U);
}

TEST(Tenants, PriorityIsBoundedByThePolicy) {
  TenantPolicy first = policy("first");
  first.max_priority = 10;
  TestServer server(with({first, policy("second")}));
  const auto ask = [&](TestServer& of, int priority, const CallOptions& options) {
    v1::GenerateRequest request = text_request("a", 1);
    request.set_priority(priority);
    return stream(*of.stub(), request, options).status;
  };
  EXPECT_TRUE(ask(server, 10, as("first")).ok());
  EXPECT_TRUE(ask(server, 0, as("second")).ok());
  EXPECT_TRUE(ask(server, -100, as("second")).ok());
  const grpc::Status refused = ask(server, 11, as("first"));
  EXPECT_EQ(refused.error_code(), GrpcCode::INVALID_ARGUMENT);
  EXPECT_EQ(bad_field_of(refused), "priority");
  EXPECT_THAT(refused.error_message(), AllOf(HasSubstr("11"), HasSubstr("10")));
  EXPECT_EQ(bad_field_of(ask(server, 1, as("second"))), "priority");
  TestServer anyones;
  EXPECT_TRUE(ask(anyones, 0, {}).ok());
  EXPECT_EQ(bad_field_of(ask(anyones, 1, {})), "priority");
  EXPECT_EQ(anyones.info().limits().max_priority(), 0);
}

TEST(Tenants, RequestsBeyondTheRateAreRefusedWithATimeToComeBack) {
  TenantPolicy slow = policy("slow");
  slow.requests_per_minute = 3;
  TestServerOptions options = with({slow, policy("other")});
  TestServer server(options);
  const auto stub = server.stub();
  EXPECT_TRUE(stream(*stub, text_request("a", 1), as("slow")).status.ok());
  EXPECT_TRUE(generate(*stub, text_request("a", 1), as("slow")).status.ok());
  grpc::ClientContext context;
  set_up(context, as("slow"));
  v1::TokenizeRequest text;
  text.set_text("a");
  v1::TokenizeResponse tokens;
  EXPECT_TRUE(stub->Tokenize(&context, text, &tokens).ok());
  const Reply refused = stream(*stub, text_request("a", 1), as("slow"));
  EXPECT_EQ(refused.status.error_code(), GrpcCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(refused.status.error_message(), HasSubstr("3 requests a minute"));
  const auto retry = retry_seconds_of(refused.status);
  ASSERT_TRUE(retry.has_value());
  EXPECT_GT(*retry, 0);
  EXPECT_LE(*retry, 20);
  EXPECT_TRUE(stream(*stub, text_request("a", 1), as("other")).status.ok());
}

TEST(Tenants, TokensOfPromptsAndOutputsCount) {
  TenantPolicy slow = policy("slow");
  slow.tokens_per_minute = 100;
  TestServer server(with({slow}));
  const auto stub = server.stub();
  EXPECT_TRUE(stream(*stub, token_request(60, 30), as("slow")).status.ok());
  EXPECT_TRUE(stream(*stub, token_request(60, 30), as("slow")).status.ok());  // ten were left: a debt now
  const Reply refused = stream(*stub, token_request(1, 1), as("slow"));
  EXPECT_EQ(refused.status.error_code(), GrpcCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(refused.status.error_message(), HasSubstr("100 tokens a minute"));
  EXPECT_GT(retry_seconds_of(refused.status).value_or(0), 1);
}

TEST(Tenants, ConcurrencyIsBoundedByThePolicy) {
  TenantPolicy one = policy("one");
  one.concurrency = 1;
  TestServer server(with({one, policy("other")}));
  HeldCall call(server, "first", as("one"));
  const Reply refused = stream(*server.stub(), text_request("a", 1), as("one"));
  EXPECT_EQ(refused.status.error_code(), GrpcCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(retry_seconds_of(refused.status).has_value());
  auto others =
      std::async(std::launch::async, [&] { return stream(*server.stub(), text_request("a", 1), as("other")); });
  EXPECT_TRUE(call.finish().status.ok());
  EXPECT_TRUE(others.get().status.ok());
  EXPECT_TRUE(stream(*server.stub(), text_request("a", 1), as("one")).status.ok());
}

uint32_t cached_tokens(TestServer& server, const v1::GenerateRequest& request, const CallOptions& options) {
  const Reply reply = stream(*server.stub(), request, options);
  EXPECT_TRUE(reply.status.ok()) << reply.status.error_message();
  return reply.samples.at(0).last.usage().cached_tokens();
}

TEST(Tenants, NobodyLearnsFromTheCacheWhatAnotherAsked) {
  TenantPolicy carol = policy("carol"), dave = policy("dave");
  carol.own_cache = dave.own_cache = false;
  TestServer server(with({policy("alice"), policy("bob"), carol, dave}));
  const v1::GenerateRequest request = token_request(3 * kPageTokens, 2);
  EXPECT_EQ(cached_tokens(server, request, as("alice")), 0U);
  EXPECT_GT(cached_tokens(server, request, as("alice")), 0U);
  EXPECT_EQ(cached_tokens(server, request, as("bob")), 0U);
  EXPECT_EQ(cached_tokens(server, request, as("carol")), 0U);
  EXPECT_GT(cached_tokens(server, request, as("dave")), 0U);  // the two share
}

TEST(Tenants, ASaltPartsTheCacheOfAnyone) {
  TestServer server;
  v1::GenerateRequest request = token_request(3 * kPageTokens, 2);
  EXPECT_EQ(cached_tokens(server, request, {}), 0U);
  EXPECT_GT(cached_tokens(server, request, {}), 0U);
  request.set_cache_salt("mine");
  EXPECT_EQ(cached_tokens(server, request, {}), 0U);
  EXPECT_GT(cached_tokens(server, request, {}), 0U);
  request.set_cache_salt("other");
  EXPECT_EQ(cached_tokens(server, request, {}), 0U);
  request.set_cache_salt(std::string(129, 's'));
  EXPECT_EQ(bad_field_of(stream(*server.stub(), request).status), "cache_salt");
}

TEST(Tenants, ThatAreReadAgainChangeWhoMayCallAndHowMuch) {
  TestServer server(with({policy("alice"), policy("bob")}));
  HeldCall call(server, "mine", as("bob"));
  TenantPolicy alice = policy("alice");
  alice.max_priority = 5;
  server.server().set_tenants({alice, policy("carol")});
  EXPECT_TRUE(call.finish().status.ok());  // what is under way goes on
  EXPECT_EQ(stream(*server.stub(), text_request("a", 1), as("bob")).status.error_code(), GrpcCode::UNAUTHENTICATED);
  EXPECT_TRUE(stream(*server.stub(), text_request("a", 1), as("carol")).status.ok());
  v1::GenerateRequest urgent = text_request("a", 1);
  urgent.set_priority(5);
  EXPECT_TRUE(stream(*server.stub(), urgent, as("alice")).status.ok());
}

TEST(Tenants, AKeyThatIsNotOneOfThemOpensNothing) {
  TestServer server(with({policy("alice")}));
  for (const std::string wrong : {"", "x", "key of alic", "key of alice ", "key of bob"}) {
    EXPECT_EQ(stream(*server.stub(), text_request("a", 1), {.api_key = wrong}).status.error_code(),
              GrpcCode::UNAUTHENTICATED)
        << wrong;
  }
}

}  // namespace
}  // namespace octet::testing
