#include "runtime/service/credentials.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/stat.h>

#include <array>
#include <chrono>
#include <mutex>
#include <optional>
#include <utility>

#include "runtime/base/check.h"
#include "runtime/base/log.h"
#include "runtime/base/read_file.h"
#include "runtime/service/secret_file.h"

namespace octet {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kMaxPemBytes = 1 << 20;
constexpr std::chrono::seconds kLookInterval{1};  // at most so often a handshake looks whether the files have changed

template <typename T, void (*free)(T*)>
struct Free {
  void operator()(T* object) const { free(object); }
};
using Bio = std::unique_ptr<BIO, Free<BIO, BIO_free_all>>;
using Certificate = std::unique_ptr<X509, Free<X509, X509_free>>;
using PrivateKey = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY, EVP_PKEY_free>>;

// No key of ours has a password; without this OpenSSL would ask the terminal for one.
int no_password(char*, int, int, void*) { return 0; }

Bio open_text(const std::string& text) { return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

Certificate first_certificate(const std::string& pem) {
  Certificate certificate(PEM_read_bio_X509(open_text(pem).get(), nullptr, no_password, nullptr));
  ERR_clear_error();
  return certificate;
}

PrivateKey private_key(const std::string& pem) {
  PrivateKey key(PEM_read_bio_PrivateKey(open_text(pem).get(), nullptr, no_password, nullptr));
  ERR_clear_error();
  return key;
}

bool belong_together(const X509& certificate, const EVP_PKEY& key) {
  const bool belong = X509_check_private_key(&certificate, &key) == 1;
  ERR_clear_error();
  return belong;
}

struct Pem {
  std::string certificate, key, client_ca;
};

// Of files that belong together.
Result<Pem> read_pem(const ServerOptions& options) {
  Pem pem;
  OCTET_ASSIGN_OR_RETURN(pem.certificate, read_text_file(options.tls_cert, kMaxPemBytes));
  OCTET_ASSIGN_OR_RETURN(pem.key, read_secret_file(options.tls_key, kMaxPemBytes));
  const Certificate certificate = first_certificate(pem.certificate);
  if (certificate == nullptr) return invalid_input("--tls-cert {}: has no certificate in PEM format", options.tls_cert);
  const PrivateKey key = private_key(pem.key);
  if (key == nullptr) return invalid_input("--tls-key {}: has no private key in PEM format", options.tls_key);
  if (!belong_together(*certificate, *key)) {
    return invalid_input("--tls-cert {}, --tls-key {}: not a certificate and its key", options.tls_cert,
                         options.tls_key);
  }
  if (options.tls_client_ca.empty()) return pem;
  OCTET_ASSIGN_OR_RETURN(pem.client_ca, read_text_file(options.tls_client_ca, kMaxPemBytes));
  if (first_certificate(pem.client_ca) == nullptr) {
    return invalid_input("--tls-client-ca {}: has no certificate in PEM format", options.tls_client_ca);
  }
  return pem;
}

// What tells that a file is another one, or was written.
struct FileState {
  dev_t device = 0;
  ino_t inode = 0;
  int64_t size = 0;
  int64_t written_s = 0, written_ns = 0;

  bool operator==(const FileState&) const = default;
};

FileState state_of(const std::string& path) {
  struct stat facts {};
  if (path.empty() || stat(path.c_str(), &facts) != 0) return {};
  return {facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtim.tv_sec, facts.st_mtim.tv_nsec};
}

// The certificate and key of a service as its files have them. Thread-safe.
class TlsFiles {
 public:
  explicit TlsFiles(const ServerOptions& options) : options_(options) {}

  // As gRPC asks with each handshake, and once before the first: what has changed. Files that do not belong together,
  // as when one is written and the other is not yet, change nothing, and are looked at again.
  grpc_ssl_certificate_config_reload_status fetch(grpc_ssl_server_certificate_config** config) {
    const std::lock_guard lock(mutex_);
    const auto now = Clock::now();
    if (looked_ && now - *looked_ < kLookInterval) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    looked_ = now;
    const States states = {state_of(options_.tls_cert), state_of(options_.tls_key), state_of(options_.tls_client_ca)};
    if (states == used_) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    const auto pem = read_pem(options_);
    if (!pem.ok()) {
      if (states != refused_) log_warning("{}; TLS goes on with what it had", pem.status().message());
      refused_ = states;
      return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    }
    if (used_) log_info("TLS: certificate and key were read again");
    used_ = states;
    const grpc_ssl_pem_key_cert_pair pair{pem->key.c_str(), pem->certificate.c_str()};
    // gRPC 1.51 aborts without an authority of clients, also where it asks them for nothing: then it has one unused.
    const std::string& client_ca = pem->client_ca.empty() ? pem->certificate : pem->client_ca;
    *config = grpc_ssl_server_certificate_config_create(client_ca.c_str(), &pair, 1);
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

 private:
  using States = std::array<FileState, 3>;

  const ServerOptions options_;
  std::mutex mutex_;  // guards what follows
  std::optional<Clock::time_point> looked_;
  std::optional<States> used_, refused_;
};

// TLS from files that are read again when they change: gRPC's C++ surface has that only for pairs of which it does not
// know whether they belong together.
class TlsCredentials final : public grpc::ServerCredentials {
 public:
  explicit TlsCredentials(const ServerOptions& options) : files_(options) {
    const auto request = options.tls_client_ca.empty() ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                                                       : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;
    credentials_ = grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(request, fetch, &files_));
  }
  ~TlsCredentials() override { grpc_server_credentials_release(credentials_); }
  TlsCredentials(const TlsCredentials&) = delete;
  TlsCredentials& operator=(const TlsCredentials&) = delete;

  // REQUIRES: never called; who may call is the services' to say.
  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {
    OCTET_CHECK(false, "these credentials have no processor of metadata");
  }

 private:
  static grpc_ssl_certificate_config_reload_status fetch(void* files, grpc_ssl_server_certificate_config** config) {
    return static_cast<TlsFiles*>(files)->fetch(config);
  }
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  TlsFiles files_;
  grpc_server_credentials* credentials_ = nullptr;
};

}  // namespace

Result<std::shared_ptr<grpc::ServerCredentials>> make_credentials(const ServerOptions& options) {
  if (options.tls_cert.empty() != options.tls_key.empty()) {
    return invalid_input("--tls-cert and --tls-key: one needs the other");
  }
  if (options.tls_cert.empty()) {
    if (!options.tls_client_ca.empty()) return invalid_input("--tls-client-ca needs --tls-cert and --tls-key");
    return grpc::InsecureServerCredentials();
  }
  OCTET_RETURN_IF_ERROR(read_pem(options).status());
  return std::shared_ptr<grpc::ServerCredentials>(std::make_shared<TlsCredentials>(options));
}

}  // namespace octet
