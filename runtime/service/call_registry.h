// CallRegistry: the calls under way, by tenant and request id, and the rule who may join them.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "runtime/service/generation_call.h"

namespace octet {

// Thread-safe.
class CallRegistry {
 public:
  // `max_calls`: live ones at most.
  explicit CallRegistry(int64_t max_calls) : max_calls_(max_calls) {}

  // The call is live from now on. kAlreadyExists where a live call of its tenant has its id, kExhausted where there are
  // too many, or too many of its tenant, and the end given to close() after that.
  CallEnd add(const std::shared_ptr<GenerationCall>& call);
  // The call has ended, and its id is free.
  void remove(const GenerationCall& call);
  // The live calls of the id that the caller may end: its own or, where its policy says so, everyone's.
  std::vector<std::shared_ptr<GenerationCall>> find(const Caller& caller, const std::string& request_id) const;
  int64_t num_live() const;

  // No call joins any more.
  void close(const CallEnd& why);
  // Ends every live call.
  void end_all(const CallEnd& end);

 private:
  using Key = std::pair<std::string, std::string>;  // tenant, request id

  const int64_t max_calls_;
  mutable std::mutex mutex_;
  std::map<Key, std::shared_ptr<GenerationCall>> live_;
  std::map<std::string, int64_t> num_live_of_;  // by tenant, of those that have any
  CallEnd closed_;
};

}  // namespace octet
