#include "launcher/service_flags.h"

#include "runtime/base/address.h"

namespace octet {
namespace {

std::string is_listen_address(const std::string& text) { return parse_listen_address(text).status().message(); }

void declare_limit(CLI::App& app, const char* name, int64_t& value, int64_t least, const char* help) {
  app.add_option(name, value, help)
      ->check(CLI::Range(least, int64_t{1} << 30))
      ->type_name("N")
      ->capture_default_str()
      ->group("Limits");
}

void declare_seconds(CLI::App& app, const char* name, std::chrono::milliseconds& value, const char* help) {
  app.add_option_function<double>(
         name, [&value](double seconds) { value = std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000)); },
         help)
      ->check(CLI::Range(0.1, 1e6))
      ->type_name("SECONDS")
      ->group("Limits");
}

void declare_limits(CLI::App& app, ServiceLimits& limits) {
  declare_limit(app, "--max-queue", limits.max_queue, 0, "requests in flight beyond --max-batch; more are refused");
  declare_limit(app, "--max-connections", limits.max_connections, 2,
                "of clients, half of them from one address; an idle one gives way to one more");
  declare_limit(app, "--max-message-bytes", limits.max_message_bytes, 1024, "of a message from a client");
  declare_limit(app, "--max-prompt-bytes", limits.max_prompt_bytes, 1, "of a prompt's text");
  declare_limit(app, "--max-stop-strings", limits.max_stop_strings, 0, "of a request, and as many stop tokens");
  declare_limit(app, "--max-stop-bytes", limits.max_stop_bytes, 1, "of one stop string");
  declare_limit(app, "--max-logit-bias", limits.max_logit_bias_entries, 0, "tokens whose logits a request biases");
  declare_limit(app, "--max-parse-bytes", limits.max_parse_bytes, 1024,
                "of generating requests that wait to be parsed, and of Tokenize and Detokenize ones; more are refused");
  declare_limit(app, "--max-outbox-bytes", limits.max_outbox_bytes, 1024,
                "of output that a client has not read; more, and it is dropped");
  declare_seconds(app, "--stall-limit", limits.stall_limit,
                  "drop a client that reads nothing of its output for so long (default: 30)");
}

}  // namespace

void declare_service_flags(CLI::App& app, ServiceFlags& flags) {
  ServerOptions& options = flags.server;
  app.add_option("--listen", options.listen, "where gRPC is served: HOST:PORT, [IPv6]:PORT or unix:PATH")
      ->check(is_listen_address)
      ->type_name("ADDRESS")
      ->capture_default_str();
  app.add_option("--metrics-listen", options.metrics_listen,
                 "where Prometheus finds /metrics: HOST:PORT or [IPv6]:PORT; empty: nowhere")
      ->check([](const std::string& text) { return text.empty() ? "" : is_listen_address(text); })
      ->type_name("ADDRESS")
      ->capture_default_str();
  const auto file = [&app](const char* name, std::string& value, const char* help) {
    app.add_option(name, value, help)->type_name("FILE")->group("Who may call");
  };
  file("--tls-cert", options.tls_cert, "serve over TLS with this certificate chain (PEM)");
  file("--tls-key", options.tls_key, "its private key (PEM)");
  file("--tls-client-ca", options.tls_client_ca, "take only clients with a certificate of this authority (PEM)");
  file("--api-key-file", options.api_key_file,
       "ask every call but health's for \"authorization: Bearer KEY\"; KEY is the file's first line, and opens "
       "everything");
  file("--api-keys", flags.api_keys_file,
       "the same with a key for each tenant, and what each may have (TOML; octet api-key makes entries); read again on "
       "SIGHUP");
  app.get_option("--api-keys")->excludes("--api-key-file");
  file("--metrics-key-file", options.metrics_key_file,
       "ask those who read /metrics for \"Authorization: Bearer KEY\"; KEY is the file's first line");
  declare_limits(app, options.limits);
  declare_seconds(app, "--drain-limit", flags.drain_limit,
                  "end what a drain has not finished after so long; its clients can resume it (default: 300)");
}

}  // namespace octet
