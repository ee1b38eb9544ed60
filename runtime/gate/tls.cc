#include "runtime/gate/tls.h"

#include <openssl/ssl.h>

#include <boost/asio/buffer.hpp>
#include <string_view>

#include "runtime/base/log.h"
#include "runtime/base/read_file.h"
#include "runtime/base/secret_file.h"

namespace octet {
namespace {

namespace ssl = boost::asio::ssl;

constexpr int64_t kMaxPemBytes = 1 << 20;

// HTTP/2 and nothing else (RFC 7301), as a client of gRPC asks for.
int choose_http2(SSL*, const unsigned char** chosen, unsigned char* length, const unsigned char* offered,
                 unsigned num_offered, void*) {
  constexpr std::string_view kHttp2 = "h2";
  for (unsigned i = 0; i < num_offered; i += offered[i] + 1U) {
    const std::string_view name(reinterpret_cast<const char*>(offered + i + 1), offered[i]);
    if (i + 1 + offered[i] > num_offered || name != kHttp2) continue;
    *chosen = offered + i + 1;
    *length = offered[i];
    return SSL_TLSEXT_ERR_OK;
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

Result<TlsContext> make_context(const TlsFiles& files) {
  OCTET_ASSIGN_OR_RETURN(const std::string key, read_secret_file(files.key, kMaxPemBytes));
  OCTET_ASSIGN_OR_RETURN(const std::string chain, read_text_file(files.certificate, kMaxPemBytes));
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  boost::system::error_code error;
  context->set_options(ssl::context::default_workarounds | ssl::context::no_compression | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
  SSL_CTX_set_alpn_select_cb(context->native_handle(), choose_http2, nullptr);
  SSL_CTX_set_session_cache_mode(context->native_handle(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(context->native_handle(), SSL_MODE_RELEASE_BUFFERS);
  context->use_certificate_chain(boost::asio::buffer(chain), error);
  if (!error) context->use_private_key(boost::asio::buffer(key), ssl::context::pem, error);
  if (error || SSL_CTX_check_private_key(context->native_handle()) != 1) {
    return invalid_input("--tls-cert {}, --tls-key {}: not a certificate and its key", files.certificate, files.key);
  }
  if (files.client_authority.empty()) return context;
  OCTET_ASSIGN_OR_RETURN(const std::string authority, read_text_file(files.client_authority, kMaxPemBytes));
  context->add_certificate_authority(boost::asio::buffer(authority), error);
  if (error) return invalid_input("--tls-client-ca {}: no certificates", files.client_authority);
  context->set_verify_mode(ssl::verify_peer | ssl::verify_fail_if_no_peer_cert);
  return context;
}

}  // namespace

Result<Tls> Tls::open(const TlsFiles& files) {
  if (files.certificate.empty() != files.key.empty()) {
    return invalid_input("--tls-cert and --tls-key: one needs the other");
  }
  if (files.certificate.empty() && !files.client_authority.empty()) {
    return invalid_input("--tls-client-ca needs --tls-cert and --tls-key");
  }
  Tls tls;
  tls.files_ = files;
  if (files.certificate.empty()) return tls;
  tls.stamps_ = tls.stamps();
  OCTET_ASSIGN_OR_RETURN(tls.context_, make_context(files));
  return tls;
}

std::vector<Tls::Stamp> Tls::stamps() const {
  std::vector<Stamp> stamps;
  for (const std::string* path : {&files_.certificate, &files_.key, &files_.client_authority}) {
    std::error_code error;
    stamps.push_back({std::filesystem::last_write_time(*path, error), std::filesystem::file_size(*path, error)});
  }
  return stamps;
}

void Tls::refresh() {
  if (context_ == nullptr) return;
  std::vector<Stamp> now = stamps();
  if (now == stamps_) return;
  stamps_ = std::move(now);
  auto context = make_context(files_);
  if (context.ok()) {
    context_ = *std::move(context);
    log_info("the TLS files have changed: new connections get what is in them now");
  } else {
    log_warning("the TLS files have changed, but cannot be used: {}", context.status().message());
  }
}

}  // namespace octet
