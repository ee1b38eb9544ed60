#include "runtime/gate/gate.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <list>
#include <map>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "runtime/base/log.h"
#include "runtime/gate/address_account.h"
#include "runtime/gate/gate_connection.h"
#include "runtime/gate/listening.h"
#include "runtime/gate/peer_address.h"

namespace octet {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = GateConnection::Clock;

constexpr milliseconds kTick{100};
constexpr milliseconds kBreath{50};            // before accepting is tried again where it cannot be done
constexpr seconds kRefreshInterval{5};         // of the TLS files
constexpr seconds kReportInterval{10};         // of what was turned away
constexpr int kAcceptsAtOnce = 32;             // then those who are connected have their turn
constexpr int64_t kReservedDescriptors = 256;  // for files, the job, metrics
constexpr int64_t kDescriptorsOfConnection = 3;
constexpr int64_t kFewestConnections = 16;
constexpr int64_t kConnectionsOfDebtor = 32;  // of an address that owes
constexpr seconds kIdleGrace{1};              // younger connections may be about to ask for something

// As many descriptors as the system allows; how many.
int64_t raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  if (limit.rlim_cur < limit.rlim_max) {
    const rlimit raised{limit.rlim_max, limit.rlim_max};
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  return static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, 1 << 20));
}

int64_t affordable_connections(int64_t wanted) {
  const int64_t limit = raise_descriptor_limit();
  const int64_t reserved = std::min(kReservedDescriptors, limit / 2);
  const int64_t affordable = std::max(kFewestConnections, (limit - reserved) / kDescriptorsOfConnection);
  if (affordable < wanted) {
    log_warning("at most {} connections instead of {}: the process may have {} descriptors (ulimit -n)", affordable,
                wanted, limit);
  }
  return std::min(wanted, affordable);
}

}  // namespace

struct Gate::Impl {
  using Connections = std::list<std::shared_ptr<GateConnection>>;

  explicit Impl(GateOptions from)
      : options(std::move(from)), max_connections(affordable_connections(options.max_connections)) {
    shared.filter = options.filter;
    shared.max_held_bytes = options.max_held_bytes;
    shared.relieve = [this] { relieve(); };
    spare_descriptor = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  }
  ~Impl() {
    if (spare_descriptor >= 0) ::close(spare_descriptor);
  }

  void await_client(size_t index) {
    listeners[index].async_wait(boost::asio::posix::stream_descriptor::wait_read,
                                [this, index](const boost::system::error_code& error) {
                                  if (!error) accept_clients(index);
                                });
  }

  void accept_clients(size_t index) {
    for (int i = 0; i < kAcceptsAtOnce; ++i) {
      sockaddr_storage peer{};
      socklen_t size = sizeof(peer);
      const int descriptor = ::accept4(listeners[index].native_handle(), reinterpret_cast<sockaddr*>(&peer), &size,
                                       SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (descriptor >= 0) {
        take(descriptor, peer);
      } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        return make_room(index);
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        break;
      }  // anything else is the client's own end
    }
    await_client(index);
  }

  // The client in front is turned away with the descriptor that was kept for it: it would wait for ever.
  void make_room(size_t index) {
    if (spare_descriptor >= 0) ::close(spare_descriptor);
    const int refused = ::accept4(listeners[index].native_handle(), nullptr, nullptr, SOCK_CLOEXEC);
    if (refused >= 0) ::close(refused);
    spare_descriptor = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    ++num_refused;
    breath.expires_after(kBreath);
    breath.async_wait([this, index](const boost::system::error_code& error) {
      if (!error) await_client(index);
    });
  }

  void take(int descriptor, const sockaddr_storage& peer) {
    const PeerAddress from = describe_peer(peer);
    auto& account = accounts[from.key];
    if (account == nullptr) account = std::make_shared<AddressAccount>();
    const bool owes = account->owes() > Clock::duration::zero();
    const int64_t most = owes ? std::min(kConnectionsOfDebtor, max_connections / 2) : max_connections / 2;
    const bool address_is_full = account->num_connections >= std::max<int64_t>(1, most);
    if ((address_is_full || shared.num_connections >= max_connections) &&
        !evict(address_is_full ? account.get() : largest_account())) {
      ++num_refused;
      ::close(descriptor);
      return;
    }
    const int yes = 1;
    ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    ClientSocket socket(shared.io);
    socket.assign(boost::asio::generic::stream_protocol(peer.ss_family, 0), descriptor);
    auto connection = std::make_shared<GateConnection>(shared, std::move(socket), tls->context(), from.name, account);
    connections.push_back(connection);
    connection->start();
  }

  const AddressAccount* largest_account() const {
    const auto connections_of = [](const auto& entry) { return entry.second->num_connections; };
    return std::ranges::max_element(accounts, {}, connections_of)->second.get();
  }

  // Closes the connection of this account that has asked for nothing for the longest time, those first that never have;
  // whether there was one.
  bool evict(const AddressAccount* account) {
    const auto rank = [](const GateConnection& connection) {
      return std::pair(connection.greeted(), *connection.idle_since());
    };
    GateConnection* chosen = nullptr;
    for (const auto& connection : connections) {
      if (connection->closed() || &connection->account() != account || !connection->idle_since()) continue;
      if (connection->greeted() && Clock::now() - *connection->idle_since() < kIdleGrace) continue;
      if (chosen == nullptr || rank(*connection) < rank(*chosen)) chosen = connection.get();
    }
    if (chosen == nullptr) return false;
    ++num_evicted;
    chosen->close();
    return true;
  }

  // Of the address that holds most the connection that does loses what is not complete, or else everything.
  void relieve() {
    if (std::exchange(relieving, true)) return;
    while (shared.held_bytes > shared.max_held_bytes) {
      const auto weight = [](const auto& connection) {
        return std::tuple(!connection->closed(), connection->account().held_bytes, connection->held_bytes());
      };
      const auto heaviest = std::ranges::max_element(connections, {}, weight);
      if (heaviest == connections.end() || (*heaviest)->closed()) break;
      ++num_shed;
      if (!(*heaviest)->shed()) (*heaviest)->close();
    }
    relieving = false;
  }

  void tick() {
    const auto now = Clock::now();
    for (const auto& connection : connections) connection->tick(now);
    std::erase_if(connections, [](const auto& connection) { return connection->closed(); });
    std::erase_if(accounts, [now](const auto& account) { return account.second->is_blank(now); });
    num_connections = shared.num_connections;
    if (now - refreshed_at >= kRefreshInterval) {
      refreshed_at = now;
      tls->refresh();
    }
    if (now - reported_at >= kReportInterval && num_refused + num_evicted + num_shed > 0) {
      reported_at = now;
      log_warning("{} connections turned away, {} idle ones closed for others, {} made to give memory back",
                  std::exchange(num_refused, 0), std::exchange(num_evicted, 0), std::exchange(num_shed, 0));
    }
    ticker.expires_after(kTick);
    ticker.async_wait([this](const boost::system::error_code& error) {
      if (!error) tick();
    });
  }

  GateOptions options;
  const int64_t max_connections;
  Listening listening;
  std::optional<Tls> tls;
  GateShared shared;
  std::vector<boost::asio::posix::stream_descriptor> listeners;
  boost::asio::steady_timer ticker{shared.io}, breath{shared.io};
  Connections connections;
  std::map<std::string, std::shared_ptr<AddressAccount>> accounts;  // by address; kept while there is something in it
  int spare_descriptor = -1;
  bool relieving = false;
  int64_t num_refused = 0, num_evicted = 0, num_shed = 0;
  Clock::time_point refreshed_at = Clock::now(), reported_at = {};
  std::atomic<int64_t> num_connections = 0;
  std::thread thread;
};

Gate::Gate(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<Gate>> Gate::open(GateOptions options) {
  OCTET_ASSIGN_OR_RETURN(Tls tls, Tls::open(options.tls));
  auto listening = listen_at(options.listen);
  if (!listening.ok()) return invalid_input("--listen {}: {}", options.listen.text(), listening.status().message());
  auto impl = std::make_unique<Impl>(std::move(options));
  impl->tls = std::move(tls);
  for (const int descriptor : listening->descriptors) impl->listeners.emplace_back(impl->shared.io, descriptor);
  impl->listening = *std::move(listening);
  return std::unique_ptr<Gate>(new Gate(std::move(impl)));
}

const Address& Gate::address() const { return impl_->listening.address; }

void Gate::start(std::function<void(int descriptor)> handover) {
  Impl& impl = *impl_;
  impl.shared.handover = std::move(handover);
  for (size_t i = 0; i < impl.listeners.size(); ++i) impl.await_client(i);
  impl.tick();
  impl.thread = std::thread([&impl] { impl.shared.io.run(); });
}

void Gate::stop_listening() {
  const std::string file = std::exchange(impl_->listening.address.socket_file, {});
  if (!file.empty()) ::unlink(file.c_str());
  boost::asio::post(impl_->shared.io, [&impl = *impl_] {
    impl.breath.cancel();
    impl.listeners.clear();
  });
}

bool Gate::wait_until_empty(milliseconds time) {
  const auto end = Clock::now() + time;
  const auto is_empty = [this] { return impl_->num_connections.load() == 0; };
  while (!is_empty() && Clock::now() < end) std::this_thread::sleep_for(milliseconds(5));
  return is_empty();
}

Gate::~Gate() {
  if (!impl_->thread.joinable()) return;
  stop_listening();
  boost::asio::post(impl_->shared.io, [&impl = *impl_] {
    for (const auto& connection : impl.connections) connection->close();
    impl.shared.io.stop();
  });
  impl_->thread.join();
}

}  // namespace octet
