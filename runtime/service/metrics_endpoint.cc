#include "runtime/service/metrics_endpoint.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <exception>
#include <thread>
#include <utility>

namespace octet {
namespace {

constexpr std::chrono::milliseconds kKnockInterval{10};

// Connects, and goes away again.
void knock(const std::string& host, const std::string& port) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  if (getaddrinfo(host.empty() ? nullptr : host.c_str(), port.c_str(), &hints, &found) != 0) return;
  const int descriptor = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor >= 0) {
    (void)connect(descriptor, found->ai_addr, found->ai_addrlen);  // whether somebody opens does not matter
    close(descriptor);
  }
  freeaddrinfo(found);
}

// "[::1]" without its brackets.
std::string bare_host(const std::string& host) {
  return host.starts_with('[') && host.ends_with(']') ? host.substr(1, host.size() - 2) : host;
}

}  // namespace

Result<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::open(const std::string& listen) {
  try {
    auto exposer = std::make_unique<prometheus::Exposer>(listen, /*num_threads=*/1);
    return std::unique_ptr<MetricsEndpoint>(new MetricsEndpoint(std::move(exposer), listen));
  } catch (const std::exception& error) {
    return invalid_input("--metrics-listen {}: {}", listen, error.what());
  }
}

MetricsEndpoint::MetricsEndpoint(std::unique_ptr<prometheus::Exposer> exposer, const std::string& listen)
    : exposer_(std::move(exposer)), port_(std::to_string(exposer_->GetListeningPorts().front())) {
  const auto colon = listen.rfind(':');
  const std::string host = colon == std::string::npos ? "" : listen.substr(0, colon);
  host_ = bare_host(host);
  address_ = (colon == std::string::npos ? "" : host + ":") + port_;
}

// The library's listener looks every two seconds whether it is to end, and whenever somebody connects.
MetricsEndpoint::~MetricsEndpoint() {
  std::jthread knocking([this](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      knock(host_, port_);
      std::this_thread::sleep_for(kKnockInterval);
    }
  });
  exposer_.reset();
}

}  // namespace octet
