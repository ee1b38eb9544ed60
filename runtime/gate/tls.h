// TLS of a gate: from files, which are read again when they change.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "runtime/base/status.h"

namespace octet {

struct TlsFiles {
  std::string certificate = {}, key = {};  // PEM: a chain and its private key; empty: no TLS
  std::string client_authority = {};       // PEM: clients need a certificate of these; empty: none
};

using TlsContext = std::shared_ptr<boost::asio::ssl::context>;

// Thread safety: one thread at a time.
class Tls {
 public:
  // kInvalidInput, naming the flag or the file, where the files are not what they should be.
  static Result<Tls> open(const TlsFiles& files);

  // For the next connection; null: without TLS.
  const TlsContext& context() const { return context_; }
  // Reads the files again if they have changed. What cannot be used is told in the log, and what was in use stays.
  void refresh();

 private:
  struct Stamp {
    std::filesystem::file_time_type written;
    uintmax_t size = 0;
    bool operator==(const Stamp&) const = default;
  };
  std::vector<Stamp> stamps() const;

  TlsFiles files_;
  std::vector<Stamp> stamps_;
  TlsContext context_;
};

}  // namespace octet
