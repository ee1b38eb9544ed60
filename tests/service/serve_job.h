// octet serve as a process, alone or as a job of several ranks, for tests that look at it from outside.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <functional>
#include <memory>

#include "runtime/service/client/client.h"
#include "tests/launcher/run_job.h"

namespace octet::testing {

using Clock = std::chrono::steady_clock;

// A port that nobody listens at, for services that must come back to the same one. It stays bound to the end of this
// process, so that the system gives it to nobody else; those who ask for it by its number may listen there.
inline int free_port() {
  const int holder = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int yes = 1;
  OCTET_CHECK(::setsockopt(holder, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) == 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  OCTET_CHECK(::bind(holder, reinterpret_cast<sockaddr*>(&address), size) == 0);
  OCTET_CHECK(::getsockname(holder, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  return ntohs(address.sin_port);
}

// Asks again and again, a minute at most.
inline bool comes_true(const std::function<bool()>& condition) {
  for (const auto start = Clock::now(); Clock::now() - start < std::chrono::minutes(1);) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

struct ServeLaunch {
  int num_ranks = 0;                        // 0: a process alone; else a job of octet run
  std::vector<std::string> flags = {};      // of serve
  std::vector<std::string> run_flags = {};  // of octet run
  bool wait_until_ready = true;
};

class ServeJob {
 public:
  explicit ServeJob(const ServeLaunch& launch = {})
      : address_("127.0.0.1:" + std::to_string(free_port())), run_(command(launch, address_)) {
    if (launch.wait_until_ready) await("ready: serving");
  }

  const std::string& address() const { return address_; }
  RunningOctet& run() { return run_; }
  // The process that listens.
  pid_t process() const { return process_of_rank(run_, 0) != 0 ? process_of_rank(run_, 0) : run_.pid(); }
  void await(const std::string& text) const { run_.await_error(text); }

  std::unique_ptr<ServiceClient> client() const {
    auto client = ServiceClient::create({.server = address_});
    OCTET_CHECK(client.ok(), "{}", client.status().message());
    return *std::move(client);
  }

 private:
  static std::vector<std::string> command(const ServeLaunch& launch, const std::string& address) {
    std::vector<std::string> words;
    if (launch.num_ranks > 0) {
      words = std::vector<std::string>{"run", "--ranks", std::to_string(launch.num_ranks)} + launch.run_flags;
      words.emplace_back("--");
    }
    words = words + std::vector<std::string>{"serve", "--listen", address, "--metrics-listen", "127.0.0.1:0"} +
            launch.flags;
    const auto add_default = [&words](const std::string& flag, const std::string& value) {
      if (std::ranges::find(words, flag) == words.end()) words = words + std::vector<std::string>{flag, value};
    };
    add_default("--max-context", "4096");
    add_default("--max-batch", "16");
    return words;
  }

  std::string address_;
  RunningOctet run_;
};

// A stream and what came of it.
struct Heard {
  std::vector<TokenId> token_ids;
  std::string text;
  FinishReason finish = FinishReason::kNone;
  std::optional<RpcStatus> end;  // once it has ended
  Clock::time_point ended_at;
};

// Many streams of one client, followed together.
class Streams {
 public:
  explicit Streams(std::unique_ptr<ServiceClient> client) : client_(std::move(client)) {}

  Heard& begin(const ClientCall& call) {
    Heard& heard = *heard_.emplace_back(std::make_unique<Heard>());
    ServiceClient::StreamCallbacks callbacks;
    callbacks.on_chunk = [&heard](const ReceivedChunk& chunk) {
      heard.token_ids.insert(heard.token_ids.end(), chunk.token_ids.begin(), chunk.token_ids.end());
      heard.text += chunk.text;
      heard.finish = chunk.finish;
    };
    callbacks.on_end = [&heard](const RpcStatus& end) {
      heard.end = end;
      heard.ended_at = Clock::now();
    };
    const auto id = client_->generate(call, std::move(callbacks));
    OCTET_CHECK(id.ok(), "{}", id.status().message());
    ids_.push_back(*id);
    return heard;
  }
  void cancel(size_t index) { client_->cancel(ids_[index]); }

  // Listens until the condition holds, two minutes at most; whether it does.
  bool listen_until(const std::function<bool()>& condition) {
    const auto start = Clock::now();
    while (!condition()) {
      if (Clock::now() - start > std::chrono::minutes(2)) return false;
      client_->poll(std::chrono::milliseconds(20));
    }
    return true;
  }
  bool listen_to_the_end() {
    return listen_until([this] { return client_->num_streams() == 0; });
  }
  bool listen_until_all_speak() {
    return listen_until([this] {
      for (const auto& heard : heard_) {
        if (heard->token_ids.empty()) return false;
      }
      return true;
    });
  }

  const Heard& operator[](size_t index) const { return *heard_[index]; }
  size_t size() const { return heard_.size(); }
  ServiceClient& client() { return *client_; }

 private:
  std::unique_ptr<ServiceClient> client_;
  std::vector<std::unique_ptr<Heard>> heard_;
  std::vector<ServiceClient::StreamId> ids_;
};

// Greedy, exactly so many tokens.
inline ClientCall greedy_call(const std::string& prompt, int64_t max_tokens) {
  ClientCall call;
  call.input = prompt;
  call.params.sampling.temperature = 0;
  call.params.max_tokens = max_tokens;
  call.params.ignore_eos = true;
  return call;
}

// The text that octet generate gives to a greedy call.
inline std::string local_text(const std::string& prompt, int64_t max_tokens) {
  std::string text =
      output_of({"generate", prompt, "--temperature", "0", "--ignore-eos", "--max-tokens", std::to_string(max_tokens)});
  if (!text.empty()) text.pop_back();  // the line's end
  return text;
}

}  // namespace octet::testing
