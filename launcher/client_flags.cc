#include "launcher/client_flags.h"

#include "comm/comm_factory.h"
#include "runtime/base/address.h"

namespace octet {
namespace {

std::string is_server_address(const std::string& text) { return parse_server_address(text).status().message(); }

}  // namespace

void declare_connection_flags(CLI::App& app, ClientOptions& options) {
  const auto add = [&app](const char* name, std::string& value, const char* type, const char* help) {
    return app.add_option(name, value, help)->type_name(type)->group("A service");
  };
  CLI::Option* server = add("--server", options.server, "ADDRESS", "ask the service there (octet serve)");
  server->check(is_server_address);
  CLI::Option* ca =
      add("--tls-ca", options.tls_ca_file, "FILE", "encrypt, and trust those for whom these certificates (PEM) vouch");
  CLI::Option* cert =
      add("--tls-cert", options.tls_cert_file, "FILE", "our own certificate (PEM), for a service that asks for one");
  CLI::Option* key = add("--tls-key", options.tls_key_file, "FILE", "its private key (PEM)");
  ca->needs(server);
  cert->needs(ca)->needs(key);
  key->needs(cert);
  CLI::Option* api_key =
      add("--api-key-file", options.api_key_file, "FILE", "the key that the service asks for")->needs(server);
  app.add_flag("--insecure-key", options.insecure_key,
               "send the key to another machine without --tls-ca, too: everyone on the way can read it")
      ->needs(api_key)
      ->group("A service");
}

void declare_client_flags(CLI::App& app, ClientFlags& flags) {
  declare_connection_flags(app, flags.client);
  app.get_option("--server")
      ->description(
          "ask the service there (octet serve) and run no model here: HOST[:PORT], [IPv6][:PORT] (port 50051 if none "
          "is given) or unix:PATH; --model is then the name that its model must have");
  app.add_option("--resume-within", flags.resume_within,
                 "go on where an output stopped if a service that went away is back so soon; 0: do not")
      ->check(CLI::Range(0, 86400))
      ->type_name("SECONDS")
      ->capture_default_str()
      ->group("A service");
}

Status check_client_flags(const CLI::App& app, const ChatFlags& chat) {
  if (launched_as_rank()) return invalid_input("--server: asked by a process alone, not by every rank of a job");
  for (const std::string& flag : given_model_flags(app)) {
    return invalid_input("{}: beside --server it has no effect; the service runs the model", flag);
  }
  if (!chat.chat_template.empty()) return invalid_input("--chat-template: beside --server the service chooses it");
  return ok_status();
}

}  // namespace octet
