// MetricsEndpoint: Prometheus text at http://ADDRESS/metrics.
#pragma once

#include <prometheus/collectable.h>

#include <memory>
#include <string>

#include "runtime/base/status.h"

namespace octet {

// A few clients at once, each for a few seconds, with a small request and no body; one more takes the place of the one
// that has been there for the longest time.
class MetricsEndpoint {
 public:
  // "HOST:PORT" or "[IPv6]:PORT"; port 0: any. key: asked for as "Authorization: Bearer KEY";
  // empty: none. kInvalidInput, one line, where nobody can listen there.
  static Result<std::unique_ptr<MetricsEndpoint>> open(const std::string& listen, const std::string& key);
  ~MetricsEndpoint();

  // Holds it weakly. Any thread.
  void add(const std::shared_ptr<prometheus::Collectable>& source);
  // With the port that was chosen.
  const std::string& address() const;

 private:
  struct Impl;
  explicit MetricsEndpoint(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace octet
