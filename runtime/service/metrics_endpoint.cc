#include "runtime/service/metrics_endpoint.h"

#include <httplib.h>
#include <prometheus/text_serializer.h>
#include <sys/socket.h>

#include <chrono>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/base/address.h"

namespace octet {
namespace {

using std::chrono::milliseconds;

constexpr size_t kNumThreads = 2;           // one scraper that hangs keeps no other from its answer
constexpr milliseconds kPatience{500};      // with a client that is silent; the end waits for it
constexpr milliseconds kUntilListening{1};  // between two looks whether the listener has begun
constexpr const char* kContentType = "text/plain; version=0.0.4; charset=utf-8";

// An address that another process listens at is taken, whatever that process allows.
void set_socket_options(socket_t socket) {
  const int yes = 1;
  ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
}

Result<Address> parse_address(const std::string& listen) {
  auto address = parse_listen_address(listen);
  if (!address.ok()) return invalid_input("--metrics-listen {}", address.status().message());
  if (address->is_unix()) return invalid_input("--metrics-listen {}: Prometheus asks at HOST:PORT only", listen);
  return address;
}

}  // namespace

struct MetricsEndpoint::Impl {
  Impl() {
    server.new_task_queue = [] { return new httplib::ThreadPool(kNumThreads); };
    server.set_socket_options(set_socket_options);
    server.set_keep_alive_max_count(1);
    server.set_keep_alive_timeout(1);  // seconds, until the request comes
    server.set_read_timeout(kPatience);
    server.set_write_timeout(kPatience);
    server.Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
      response.set_content(prometheus::TextSerializer().Serialize(collect()), kContentType);
    });
  }

  std::vector<prometheus::MetricFamily> collect() {
    std::vector<prometheus::MetricFamily> families;
    const std::lock_guard lock(mutex);
    for (const auto& known : sources) {
      const auto source = known.lock();
      if (source == nullptr) continue;
      for (prometheus::MetricFamily& family : source->Collect()) families.push_back(std::move(family));
    }
    return families;
  }

  std::mutex mutex;  // guards what follows
  std::vector<std::weak_ptr<prometheus::Collectable>> sources;

  std::string address;
  httplib::Server server;
  std::thread thread;
};

Result<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::open(const std::string& listen) {
  OCTET_ASSIGN_OR_RETURN(Address address, parse_address(listen));
  auto impl = std::make_unique<Impl>();
  httplib::Server& server = impl->server;
  const int port = address.port == 0                                 ? server.bind_to_any_port(address.host)
                   : server.bind_to_port(address.host, address.port) ? address.port
                                                                     : -1;
  if (port < 0) {
    return invalid_input("--metrics-listen {}: the address is in use, or it is none of this host's", listen);
  }
  address.port = static_cast<uint16_t>(port);
  impl->address = address.text();
  impl->thread = std::thread([&server] { server.listen_after_bind(); });
  while (!server.is_running()) std::this_thread::sleep_for(kUntilListening);  // before that it cannot be stopped
  return std::unique_ptr<MetricsEndpoint>(new MetricsEndpoint(std::move(impl)));
}

MetricsEndpoint::MetricsEndpoint(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

MetricsEndpoint::~MetricsEndpoint() {
  impl_->server.stop();
  impl_->thread.join();
}

void MetricsEndpoint::add(const std::shared_ptr<prometheus::Collectable>& source) {
  const std::lock_guard lock(impl_->mutex);
  impl_->sources.push_back(source);
}

const std::string& MetricsEndpoint::address() const { return impl_->address; }

}  // namespace octet
