// Who may call: TLS, client certificates, the key, and addresses that cannot be had.
#include "runtime/service/client/client.h"
#include "runtime/service/reflection.grpc.pb.h"
#include "tests/service/certificates.h"
#include "tests/service/secret.h"
#include "tests/service/test_server.h"

namespace octet::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

Reply ask(const TestServer& server, const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
  const auto stub = v1::Generation::NewStub(server.connect(credentials));
  return stream(*stub, text_request("a", 2));
}

TEST(Tls, ServesThoseWhoSpeakItAndNobodyElse) {
  const Certificates files;
  TestServerOptions options;
  options.server.tls_cert = files.path("server.pem");
  options.server.tls_key = files.path("server.key");
  const TestServer server(options);
  EXPECT_TRUE(ask(server, grpc::SslCredentials({files.text("ca.pem"), "", ""})).status.ok());
  EXPECT_EQ(ask(server, grpc::InsecureChannelCredentials()).status.error_code(), GrpcCode::UNAVAILABLE);
}

// Puts another authority's certificate, or the half of it, where a server looks for its own.
void install(const Certificates& from, const Certificates& to, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    std::filesystem::rename(from.path(name), to.path(name + ".new"));
    std::filesystem::rename(to.path(name + ".new"), to.path(name));
  }
}

// Whether the server shows a certificate by this authority, within a minute.
bool comes_to_show(const TestServer& server, const std::string& authority) {
  for (const auto begin = Clock::now(); seconds_since(begin) < 60;) {
    if (ask(server, grpc::SslCredentials({authority, "", ""})).status.ok()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return false;
}

TEST(Tls, FilesThatChangeAreReadAgain) {
  const Certificates files, later;
  const std::string first = files.text("ca.pem"), second = later.text("ca.pem");
  TestServerOptions options;
  options.server.tls_cert = files.path("server.pem");
  options.server.tls_key = files.path("server.key");
  const TestServer server(options);
  EXPECT_TRUE(ask(server, grpc::SslCredentials({first, "", ""})).status.ok());
  const auto before = server.connect(grpc::SslCredentials({first, "", ""}));
  EXPECT_TRUE(before->WaitForConnected(std::chrono::system_clock::now() + std::chrono::minutes(1)));
  // A certificate without its key, as between two writes: the pair before goes on, also when it was looked at again.
  install(later, files, {"server.pem"});
  for (int i = 0; i < 3; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(600));
    EXPECT_TRUE(ask(server, grpc::SslCredentials({first, "", ""})).status.ok());
  }
  install(later, files, {"server.key"});
  EXPECT_TRUE(comes_to_show(server, second));
  EXPECT_FALSE(ask(server, grpc::SslCredentials({first, "", ""})).status.ok());
  const auto stub = v1::Generation::NewStub(before);  // whose connection stands
  EXPECT_TRUE(stream(*stub, text_request("a", 2)).status.ok());
  // Rubbish changes nothing.
  write_file(files.path("server.pem"), "rubbish");
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  EXPECT_TRUE(ask(server, grpc::SslCredentials({second, "", ""})).status.ok());
}

TEST(Tls, AnAuthorityOfClientsThatChangesIsReadAgain) {
  const Certificates files, others;
  TestServerOptions options;
  options.server.tls_cert = files.path("server.pem");
  options.server.tls_key = files.path("server.key");
  options.server.tls_client_ca = files.path("client-ca.pem");
  write_file(files.path("client-ca.pem"), files.text("ca.pem"));
  const TestServer server(options);
  const auto with = [&](const Certificates& from) {
    return grpc::SslCredentials({files.text("ca.pem"), from.text("client.key"), from.text("client.pem")});
  };
  EXPECT_TRUE(ask(server, with(files)).status.ok());
  EXPECT_FALSE(ask(server, with(others)).status.ok());
  write_file(files.path("client-ca.pem"), others.text("ca.pem"));
  bool taken = false;
  for (const auto begin = Clock::now(); !taken && seconds_since(begin) < 60;) {
    taken = ask(server, with(others)).status.ok();
  }
  EXPECT_TRUE(taken);
  EXPECT_FALSE(ask(server, with(files)).status.ok());
}

TEST(Tls, AKeyThatOthersCanReadIsRefused) {
  const Certificates files;
  std::filesystem::permissions(files.path("server.key"), std::filesystem::perms::others_read,
                               std::filesystem::perm_options::add);
  const auto server = Server::start({.listen = "127.0.0.1:0",
                                     .metrics_listen = "",
                                     .tls_cert = files.path("server.pem"),
                                     .tls_key = files.path("server.key")},
                                    {}, {});
  ASSERT_FALSE(server.ok());
  EXPECT_EQ(server.status().code(), StatusCode::kInvalidInput);
  EXPECT_THAT(server.status().message(), AllOf(HasSubstr("server.key"), HasSubstr("chmod 600")));
}

TEST(Client, SendsNoKeyInClearToAnotherMachine) {
  const TempFolder folder;
  write_secret(folder / "key", "a key\n");
  ClientOptions options{.server = "192.0.2.1:50051", .api_key_file = (folder / "key").string()};
  const auto refused = ServiceClient::create(options);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().code(), StatusCode::kInvalidInput);
  EXPECT_THAT(refused.status().message(),
              AllOf(HasSubstr("192.0.2.1"), HasSubstr("--tls-ca"), HasSubstr("--insecure-key")));
  options.insecure_key = true;
  EXPECT_TRUE(ServiceClient::create(options).ok());
  options = {.server = "localhost:50051", .api_key_file = (folder / "key").string()};
  EXPECT_TRUE(ServiceClient::create(options).ok());
  std::filesystem::permissions(folder / "key", std::filesystem::perms::group_read, std::filesystem::perm_options::add);
  const auto open = ServiceClient::create(options);
  ASSERT_FALSE(open.ok());
  EXPECT_THAT(open.status().message(), HasSubstr("chmod 600"));
}

TEST(Tls, ClientsNeedACertificateWhereAnAuthorityIsNamed) {
  const Certificates files, others;
  TestServerOptions options;
  options.server.tls_cert = files.path("server.pem");
  options.server.tls_key = files.path("server.key");
  options.server.tls_client_ca = files.path("ca.pem");
  const TestServer server(options);
  const auto with = [&](const Certificates& from) {
    return grpc::SslCredentials({files.text("ca.pem"), from.text("client.key"), from.text("client.pem")});
  };
  EXPECT_TRUE(ask(server, with(files)).status.ok());
  EXPECT_EQ(ask(server, with(others)).status.error_code(), GrpcCode::UNAVAILABLE);
  const auto without = grpc::SslCredentials({files.text("ca.pem"), "", ""});
  EXPECT_EQ(ask(server, without).status.error_code(), GrpcCode::UNAVAILABLE);
}

class ApiKey : public ::testing::Test {
 protected:
  static TestServerOptions with_key(const TempFolder& folder) {
    write_secret(folder / "key", "correct horse\nanything\n");
    TestServerOptions options;
    options.server.api_key_file = (folder / "key").string();
    return options;
  }

  TempFolder folder_;
  TestServer server_{with_key(folder_)};
};

TEST_F(ApiKey, IsAskedForOnEveryRouteButHealth) {
  const auto stub = server_.stub();
  for (const std::string wrong : {"", "x", "correct hors", "correct horse!", "Correct horse", "anything"}) {
    const CallOptions options{.api_key = wrong};
    const auto refused = [&](const auto& method) {
      grpc::ClientContext context;
      set_up(context, options);
      const grpc::Status status = method(context);
      EXPECT_EQ(status.error_code(), GrpcCode::UNAUTHENTICATED) << wrong;
      EXPECT_EQ(details_of(status).code(), GrpcCode::UNAUTHENTICATED);
    };
    refused([&](auto& context) {
      v1::TokenizeResponse r;
      return stub->Tokenize(&context, {}, &r);
    });
    refused([&](auto& context) {
      v1::DetokenizeResponse r;
      return stub->Detokenize(&context, {}, &r);
    });
    refused([&](auto& context) {
      v1::ModelInfo r;
      return stub->GetModelInfo(&context, {}, &r);
    });
    refused([&](auto& context) {
      v1::ServerInfo r;
      return stub->GetServerInfo(&context, {}, &r);
    });
    refused([&](auto& context) {
      v1::AbortResponse r;
      return stub->Abort(&context, {}, &r);
    });
    refused([&](auto& context) {
      const auto reflection = grpc::reflection::v1alpha::ServerReflection::NewStub(server_.connect());
      const auto asked = reflection->ServerReflectionInfo(&context);
      grpc::reflection::v1alpha::ServerReflectionResponse response;
      EXPECT_FALSE(asked->Read(&response));
      return asked->Finish();
    });
    EXPECT_EQ(stream(*stub, text_request("a", 2), options).status.error_code(), GrpcCode::UNAUTHENTICATED);
    EXPECT_EQ(generate(*stub, text_request("a", 2), options).status.error_code(), GrpcCode::UNAUTHENTICATED);
  }
  EXPECT_TRUE(is_serving(*server_.connect()));
}

TEST_F(ApiKey, OpensEveryRoute) {
  const auto stub = server_.stub();
  const CallOptions right{.api_key = "correct horse"};
  EXPECT_TRUE(stream(*stub, text_request("a", 2), right).status.ok());
  EXPECT_TRUE(generate(*stub, text_request("a", 2), right).status.ok());
  grpc::ClientContext context;
  set_up(context, right);
  v1::ModelInfo model;
  EXPECT_TRUE(stub->GetModelInfo(&context, {}, &model).ok());
}

TEST(Reflection, GivesTheSurfaceFromTheServerItself) {
  namespace reflection = grpc::reflection::v1alpha;
  const TestServer server;
  const auto stub = reflection::ServerReflection::NewStub(server.connect());
  grpc::ClientContext context;
  const auto asked = stub->ServerReflectionInfo(&context);
  const auto ask_for = [&](const auto& fill) {
    reflection::ServerReflectionRequest request;
    fill(request);
    EXPECT_TRUE(asked->Write(request));
    reflection::ServerReflectionResponse response;
    EXPECT_TRUE(asked->Read(&response));
    return response;
  };
  const auto list = ask_for([](auto& request) { request.set_list_services(""); });
  EXPECT_EQ(list.list_services_response().service(0).name(), "octet.v1.Generation");
  const auto file = ask_for([](auto& request) { request.set_file_containing_symbol("octet.v1.Generation"); });
  ASSERT_EQ(file.file_descriptor_response().file_descriptor_proto_size(), 3);  // with Any and Duration
  EXPECT_THAT(file.file_descriptor_response().file_descriptor_proto(0), HasSubstr("GenerateStream"));
  const auto unknown = ask_for([](auto& request) { request.set_file_containing_symbol("no.such.Thing"); });
  EXPECT_EQ(unknown.error_response().error_code(), GrpcCode::NOT_FOUND);
  asked->WritesDone();
  EXPECT_TRUE(asked->Finish().ok());
}

// One line that says what is wrong.
void expect_no_start(const ServerOptions& options, const std::vector<std::string>& parts) {
  const auto server = Server::start(options, {}, {});
  ASSERT_FALSE(server.ok());
  EXPECT_EQ(server.status().code(), StatusCode::kInvalidInput);
  EXPECT_EQ(std::ranges::count(server.status().message(), '\n'), 0);
  for (const std::string& part : parts) EXPECT_THAT(server.status().message(), HasSubstr(part));
}

TEST(Start, SaysWhatIsWrongWithItsFlags) {
  const TestServer running(TestServerOptions{.server = {.metrics_listen = "any"}});
  const std::string taken = running.server().address();
  const std::string taken_metrics = running.server().metrics_address();
  const std::string any = "127.0.0.1:0";
  const TempFolder folder;
  write_secret(folder / "nonsense", "nonsense");
  write_secret(folder / "empty", "\n");
  write_file(folder / "open", "a key");
  const std::string nonsense = (folder / "nonsense").string();
  expect_no_start({.listen = taken, .metrics_listen = ""}, {"--listen", taken, "in use"});
  expect_no_start({.listen = any, .metrics_listen = taken_metrics}, {"--metrics-listen", taken_metrics, "in use"});
  for (const char* wrong : {"nonsense", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000", "[::1:0", "1.2.3.4:-5"}) {
    expect_no_start({.listen = any, .metrics_listen = wrong}, {"--metrics-listen", wrong, "HOST:PORT"});
  }
  expect_no_start({.listen = "nowhere.invalid:1", .metrics_listen = ""}, {"--listen", "nowhere.invalid"});
  expect_no_start({.listen = any, .metrics_listen = "", .tls_cert = nonsense}, {"--tls-key"});
  expect_no_start({.listen = any, .metrics_listen = "", .tls_cert = nonsense, .tls_key = nonsense}, {nonsense});
  expect_no_start({.listen = any, .metrics_listen = "", .tls_cert = "/no/file", .tls_key = nonsense}, {"/no/file"});
  expect_no_start({.listen = any, .metrics_listen = "", .tls_client_ca = nonsense}, {"--tls-client-ca", "--tls-cert"});
  expect_no_start({.listen = any, .metrics_listen = "", .api_key_file = "/no/file"}, {"/no/file"});
  expect_no_start({.listen = any, .metrics_listen = "", .api_key_file = (folder / "empty").string()},
                  {"empty", "first line"});
  expect_no_start({.listen = any, .metrics_listen = "", .api_key_file = (folder / "open").string()},
                  {"open", "others", "chmod 600"});
  for (const auto& [file, part] : {std::pair("open", "chmod 600"), {"empty", "first line"}, {"missing", "missing"}}) {
    expect_no_start({.listen = any, .metrics_listen = any, .metrics_key_file = (folder / file).string()}, {part});
  }
}

}  // namespace
}  // namespace octet::testing
