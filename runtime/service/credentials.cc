#include "runtime/service/credentials.h"

#include <utility>

#include "runtime/base/read_file.h"

namespace octet {
namespace {

constexpr int64_t kMaxPemBytes = 1 << 20;

}  // namespace

Result<std::shared_ptr<grpc::ServerCredentials>> make_credentials(const ServerOptions& options) {
  if (options.tls_cert.empty() != options.tls_key.empty()) {
    return invalid_input("--tls-cert and --tls-key: one needs the other");
  }
  if (options.tls_cert.empty()) {
    if (!options.tls_client_ca.empty()) return invalid_input("--tls-client-ca needs --tls-cert and --tls-key");
    return grpc::InsecureServerCredentials();
  }
  grpc::SslServerCredentialsOptions tls;
  grpc::SslServerCredentialsOptions::PemKeyCertPair pair;
  OCTET_ASSIGN_OR_RETURN(pair.private_key, read_text_file(options.tls_key, kMaxPemBytes));
  OCTET_ASSIGN_OR_RETURN(pair.cert_chain, read_text_file(options.tls_cert, kMaxPemBytes));
  tls.pem_key_cert_pairs.push_back(std::move(pair));
  if (!options.tls_client_ca.empty()) {
    OCTET_ASSIGN_OR_RETURN(tls.pem_root_certs, read_text_file(options.tls_client_ca, kMaxPemBytes));
    tls.client_certificate_request = GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;
  }
  return grpc::SslServerCredentials(tls);
}

}  // namespace octet
