// Health: SERVING only while the service serves.
#include <atomic>
#include <future>

#include "runtime/service/grpc/health_service.h"
#include "tests/service/test_server.h"

namespace octet::testing {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using std::chrono::milliseconds;

// Waits for what health says to become so.
void await_health(grpc::ChannelInterface& channel, bool serving) {
  while (is_serving(channel) != serving) std::this_thread::sleep_for(milliseconds(10));
  EXPECT_EQ(is_serving(channel, "octet.v1.Generation"), serving);
}

TEST(Health, ServesOnlyAfterATokenAndNotWhileDraining) {
  TestServer server(TestServerOptions{.ready = false});
  const auto channel = server.connect();
  EXPECT_FALSE(is_serving(*channel));
  EXPECT_FALSE(is_serving(*channel, "octet.v1.Generation"));
  server.runner().close();
  auto ready = std::async(std::launch::async, [&] { server.make_ready(); });
  server.runner().await_step();
  EXPECT_FALSE(is_serving(*channel));  // loaded, and yet no token
  server.runner().open();
  ready.get();
  EXPECT_TRUE(is_serving(*channel));
  EXPECT_TRUE(is_serving(*channel, "octet.v1.Generation"));
  server.server().drain();
  EXPECT_FALSE(is_serving(*channel));
  EXPECT_FALSE(is_serving(*channel, "octet.v1.Generation"));
}

TEST(Health, FollowsTheHeartbeats) {
  std::atomic<double> age = 0.1;
  TestServerOptions options;
  options.watch.heartbeat_ages = [&age] { return std::vector<double>{0, age.load()}; };
  options.watch.stale_heartbeat = 2;
  const TestServer server(options);
  const auto channel = server.connect();
  await_health(*channel, true);
  age = 2.5;
  await_health(*channel, false);
  age = 0.2;
  await_health(*channel, true);
}

// A health service on its own.
class HealthServiceTest : public ::testing::Test {
 protected:
  HealthServiceTest() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&health_);
    server_ = builder.BuildAndStart();
    OCTET_CHECK(server_ != nullptr);
    stub_ = grpc::health::v1::Health::NewStub(
        grpc::CreateChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials()));
  }

  HealthService health_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<grpc::health::v1::Health::Stub> stub_;
};

HealthCheckRequest ask_about(const std::string& service) {
  HealthCheckRequest request;
  request.set_service(service);
  return request;
}

TEST_F(HealthServiceTest, SaysNotServingUntilItIsTold) {
  for (const bool told : {false, true}) {
    if (told) health_.set_serving(true);
    for (const std::string service : {"", "octet.v1.Generation"}) {
      grpc::ClientContext context;
      HealthCheckResponse response;
      EXPECT_TRUE(stub_->Check(&context, ask_about(service), &response).ok());
      EXPECT_EQ(response.status(), told ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING);
    }
  }
}

TEST_F(HealthServiceTest, WhoeverWatchesHearsOfEveryChange) {
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<HealthCheckResponse>>> watches;
  for (const std::string service : {"", "octet.v1.Generation", ""}) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    watches.push_back(stub_->Watch(contexts.back().get(), ask_about(service)));
  }
  for (const bool serving : {false, true, false}) {
    health_.set_serving(serving);
    for (auto& watch : watches) {
      HealthCheckResponse response;
      ASSERT_TRUE(watch->Read(&response));
      EXPECT_EQ(response.status(), serving ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING);
    }
  }
  contexts[0]->TryCancel();
  EXPECT_EQ(watches[0]->Finish().error_code(), GrpcCode::CANCELLED);
  health_.set_serving(true);  // those who have gone are not told
  HealthCheckResponse response;
  EXPECT_TRUE(watches[1]->Read(&response));
  server_->Shutdown(std::chrono::system_clock::now());
  for (size_t i = 1; i < watches.size(); ++i) {
    while (watches[i]->Read(&response)) continue;
    EXPECT_FALSE(watches[i]->Finish().ok());
  }
}

TEST_F(HealthServiceTest, KnowsNoOtherService) {
  grpc::ClientContext context, watching;
  HealthCheckResponse response;
  EXPECT_EQ(stub_->Check(&context, ask_about("octet.v1.Other"), &response).error_code(), GrpcCode::NOT_FOUND);
  const auto watch = stub_->Watch(&watching, ask_about("octet.v1.Other"));
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVICE_UNKNOWN);
  watching.TryCancel();
  EXPECT_EQ(watch->Finish().error_code(), GrpcCode::CANCELLED);
}

}  // namespace
}  // namespace octet::testing
