// octet api-key: a new key for a service, and its entry in the file of --api-keys.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "launcher/api_keys_file.h"
#include "launcher/commands/commands.h"
#include "launcher/output.h"
#include "runtime/base/random_bytes.h"

namespace octet {
namespace {

// 256 random bits.
std::string draw_key() { return random_hex(32); }

// A new file that its owner alone can read.
Status write_key(const std::string& path, const std::string& key) {
  const int descriptor = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (descriptor < 0) return invalid_input("--key-file {}: {}", path, std::strerror(errno));
  const std::string line = key + "\n";
  const bool written = write(descriptor, line.data(), line.size()) == std::ssize(line) && fsync(descriptor) == 0;
  if (close(descriptor) == 0 && written) return ok_status();
  unlink(path.c_str());
  return failed("--key-file {}: cannot be written", path);
}

class ApiKeyCommand final : public Command {
 public:
  const char* name() const override { return "api-key"; }
  const char* summary() const override { return "Make a key for a service, and its entry for serve --api-keys"; }
  const char* examples() const override {
    return "Examples:\n"
           "  octet api-key alice --key-file alice.key >> keys.toml   the key in a file, its entry behind the others\n"
           "  octet api-key alice >> keys.toml                        the key on standard error, to be handed on\n"
           "  octet serve --api-keys keys.toml\n"
           "  octet chat --server localhost:50051 --api-key-file alice.key\n"
           "The entry holds the key's SHA-256, so that the file of entries opens nothing to who reads it.";
  }

  void declare(CLI::App& app) override {
    app.add_option("NAME", name_, "whose key it is: the tenant's name in logs and metrics")->required();
    app.add_option("--key-file", key_file_, "write the key to this new file, which only you can read")
        ->type_name("FILE");
  }

  Status run() override {
    OCTET_RETURN_IF_ERROR(check_tenant_name(name_));
    const std::string key = draw_key();
    if (key_file_.empty()) {
      std::fprintf(stderr, "the key of %s, which is kept nowhere: %s\n", name_.c_str(), key.c_str());
    } else {
      OCTET_RETURN_IF_ERROR(write_key(key_file_, key));
    }
    return print(api_key_entry(name_, sha256(key)));
  }

 private:
  std::string name_, key_file_;
};

}  // namespace

std::unique_ptr<Command> make_api_key_command() { return std::make_unique<ApiKeyCommand>(); }

}  // namespace octet
