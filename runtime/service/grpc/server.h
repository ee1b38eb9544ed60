// Server: a generation service on its network addresses: gRPC with health and reflection, and metrics over HTTP.
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/progress.h"
#include "runtime/base/status.h"
#include "runtime/model/model_runner.h"
#include "runtime/service/served_model.h"
#include "runtime/service/service_limits.h"
#include "runtime/service/tenants.h"

namespace octet {

struct ServerOptions {
  std::string listen = "127.0.0.1:50051";         // see base/address.h; port 0: any
  std::string metrics_listen = "127.0.0.1:9464";  // empty: no metrics
  std::string tls_cert = {}, tls_key = {};        // PEM files; both or none
  std::string tls_client_ca = {};                 // PEM file: clients need a certificate of these
  std::string metrics_key_file = {};              // its first line is asked for by the metrics; empty: nothing is
  std::string api_key_file = {};                  // its first line is asked for in every call but health's
  std::vector<TenantPolicy> tenants = {};         // without api_key_file: a key of one of these is; none: no key is
  std::string version = {};
  ServiceLimits limits = {};
};

// The other ranks of the job as rank 0 sees them. Called by any thread.
struct JobWatch {
  std::function<std::vector<double>()> heartbeat_ages = {};  // seconds, of each rank; unset: a rank alone
  double stale_heartbeat = 0;                                // seconds after which the service is not ready
  std::function<std::array<PhaseTotals, kNumPhases>()> phase_totals = {};
};

// Thread safety: fail(), drain() and set_tenants() may be called by any thread, the rest by one.
class Server {
 public:
  // Listens from now on, but answers that the model is being loaded. kInvalidInput, one line, where an address cannot
  // be had or a file is wrong.
  static Result<std::unique_ptr<Server>> start(const ServerOptions& options, ServedModel model, JobWatch watch);
  // Ends what is under way.
  ~Server();

  // With the port that was chosen.
  std::string address() const;
  std::string metrics_address() const;  // empty: no metrics

  // Serves with this model, which outlives the server, once it has computed a token.
  Status serve(ModelRunner& runner);
  // Takes no new requests. Health says so.
  void drain();
  // Whether nothing is under way any more, within `time`.
  bool wait_until_drained(std::chrono::milliseconds time);
  // Who may call from now on; calls under way go on. REQUIRES: the options named tenants.
  void set_tenants(const std::vector<TenantPolicy>& tenants);
  // Ends what a drain of `limit` has not finished with DEADLINE_EXCEEDED, so that its clients can go on elsewhere, and
  // returns when they know it, or after a second.
  void end_drain(std::chrono::milliseconds limit);
  // Ends everything with UNAVAILABLE, and returns when the clients know it, or after a second.
  void fail(const std::string& why);
  // Of the model; ok while it works.
  Status failure() const;

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace octet
