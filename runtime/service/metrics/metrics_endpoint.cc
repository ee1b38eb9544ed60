#include "runtime/service/metrics/metrics_endpoint.h"

#include <prometheus/text_serializer.h>
#include <sys/socket.h>

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <functional>
#include <list>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/base/address.h"
#include "runtime/gate/listening.h"
#include "runtime/gate/token_bucket.h"
#include "runtime/service/api_key.h"

namespace octet {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Socket = asio::generic::stream_protocol::socket;

constexpr size_t kMaxClients = 16;
constexpr size_t kMaxHeaderBytes = 8 << 10;
constexpr seconds kClientLimit{5};    // from the connection to the last byte of the answer
constexpr milliseconds kBreath{100};  // before accepting is tried again where it cannot be done
constexpr double kScrapesAtOnce = 500, kScrapesPerSecond = 50;  // collecting costs the service's own time
constexpr const char* kContentType = "text/plain; version=0.0.4; charset=utf-8";

using Answer = http::response<http::string_body>;

// One request and its answer. Keeps itself alive until then.
class MetricsClient final : public std::enable_shared_from_this<MetricsClient> {
 public:
  // `respond` outlives it.
  MetricsClient(asio::io_context& io, Socket socket,
                const std::function<Answer(const http::request_header<>&)>& respond)
      : socket_(std::move(socket)), limit_(io), respond_(respond) {
    parser_.header_limit(kMaxHeaderBytes);
    parser_.body_limit(0);
  }

  void start() {
    limit_.expires_after(kClientLimit);
    limit_.async_wait([self = weak_from_this()](const boost::system::error_code& error) {
      if (const auto client = self.lock(); client != nullptr && !error) client->close();
    });
    http::async_read_header(socket_, buffer_, parser_,
                            [self = shared_from_this()](const boost::system::error_code& error, size_t) {
                              if (!error) self->answer();
                            });
  }
  void close() {
    boost::system::error_code ignored;
    socket_.close(ignored);
    limit_.cancel();
  }
  bool closed() const { return !socket_.is_open(); }

 private:
  void answer() {
    answer_ = respond_(parser_.get().base());
    answer_.keep_alive(false);
    answer_.prepare_payload();
    http::async_write(socket_, answer_, [self = shared_from_this()](const boost::system::error_code&, size_t) {
      boost::system::error_code ignored;
      self->socket_.shutdown(Socket::shutdown_both, ignored);
      self->close();
    });
  }

  Socket socket_;
  asio::steady_timer limit_;
  const std::function<Answer(const http::request_header<>&)>& respond_;
  boost::beast::flat_buffer buffer_{kMaxHeaderBytes};
  http::request_parser<http::empty_body> parser_;
  Answer answer_;
};

Answer refusal(http::status status) {
  Answer answer(status, 11);
  answer.set(http::field::content_type, "text/plain");
  if (status == http::status::unauthorized) answer.set(http::field::www_authenticate, "Bearer");
  if (status == http::status::method_not_allowed) answer.set(http::field::allow, "GET, HEAD");
  answer.body() = std::string(http::obsolete_reason(status)) + "\n";
  return answer;
}

}  // namespace

struct MetricsEndpoint::Impl {
  void await_client(size_t index) {
    listeners[index].async_wait(asio::posix::stream_descriptor::wait_read,
                                [this, index](const boost::system::error_code& error) {
                                  if (!error) accept_client(index);
                                });
  }

  void accept_client(size_t index) {
    const int descriptor = ::accept4(listeners[index].native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    const auto pause = descriptor < 0 ? kBreath : scrapes.take(1);
    if (descriptor >= 0) take(descriptor);
    if (pause <= TokenBucket::Clock::duration::zero()) return await_client(index);
    breath.expires_after(pause);
    breath.async_wait([this, index](const boost::system::error_code& error) {
      if (!error) await_client(index);
    });
  }

  void take(int descriptor) {
    clients.remove_if([](const auto& known) {
      const auto client = known.lock();
      return client == nullptr || client->closed();
    });
    if (clients.size() >= kMaxClients) {
      if (const auto oldest = clients.front().lock()) oldest->close();
      clients.pop_front();
    }
    Socket socket(io);
    socket.assign(asio::generic::stream_protocol(AF_INET, 0), descriptor);
    const auto client = std::make_shared<MetricsClient>(io, std::move(socket), respond);
    clients.push_back(client);
    client->start();
  }

  Answer respond_to(const http::request_header<>& request) {
    const auto method = request.method();
    if (method != http::verb::get && method != http::verb::head) return refusal(http::status::method_not_allowed);
    if (request.target().substr(0, request.target().find('?')) != "/metrics") return refusal(http::status::not_found);
    const auto authorization = request[http::field::authorization];
    if (!shows_api_key({authorization.data(), authorization.size()}, key)) return refusal(http::status::unauthorized);
    Answer answer(http::status::ok, 11);
    answer.set(http::field::content_type, kContentType);
    if (method == http::verb::get) answer.body() = prometheus::TextSerializer().Serialize(collect());
    return answer;
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

  std::string address, key;
  const std::function<Answer(const http::request_header<>&)> respond = [this](const http::request_header<>& request) {
    return respond_to(request);
  };
  asio::io_context io{1};
  std::vector<asio::posix::stream_descriptor> listeners;
  asio::steady_timer breath{io};
  TokenBucket scrapes{kScrapesAtOnce, kScrapesPerSecond};
  std::list<std::weak_ptr<MetricsClient>> clients;
  std::thread thread;
};

Result<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::open(const std::string& listen, const std::string& key) {
  const auto address = parse_listen_address(listen);
  if (!address.ok()) return invalid_input("--metrics-listen {}", address.status().message());
  if (address->is_unix()) return invalid_input("--metrics-listen {}: Prometheus asks at HOST:PORT only", listen);
  const auto listening = listen_at(*address);
  if (!listening.ok()) return invalid_input("--metrics-listen {}: {}", listen, listening.status().message());
  auto impl = std::make_unique<Impl>();
  impl->address = listening->address.text();
  impl->key = key;
  for (const int descriptor : listening->descriptors) impl->listeners.emplace_back(impl->io, descriptor);
  for (size_t i = 0; i < impl->listeners.size(); ++i) impl->await_client(i);
  impl->thread = std::thread([&io = impl->io] { io.run(); });
  return std::unique_ptr<MetricsEndpoint>(new MetricsEndpoint(std::move(impl)));
}

MetricsEndpoint::MetricsEndpoint(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

MetricsEndpoint::~MetricsEndpoint() {
  impl_->io.stop();
  impl_->thread.join();
}

void MetricsEndpoint::add(const std::shared_ptr<prometheus::Collectable>& source) {
  const std::lock_guard lock(impl_->mutex);
  impl_->sources.push_back(source);
}

const std::string& MetricsEndpoint::address() const { return impl_->address; }

}  // namespace octet
