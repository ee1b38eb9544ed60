#include "tests/softgpu/cudart/ledger.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>

namespace octet::softgpu {
namespace {

constexpr std::array kStageNames = {"called", "executed"};

struct Total {
  u64 count = 0, bytes = 0;
};
using Totals = std::map<std::string, Total, std::less<>>;

// Never destroyed: host threads may outlive main.
struct Ledger {
  std::mutex mutex;
  std::map<int, std::array<Totals, kStageNames.size()>> devices;
};
Ledger& ledger() {
  static Ledger& instance = *new Ledger;
  return instance;
}

// Appends a line to the file that an environment variable names. Lines of several processes do not mix.
void append(int file, const std::string& line) {
  if (write(file, line.data(), line.size()) != ssize_t(line.size())) std::perror("softgpu: cannot write counts");
}
int open_log(const char* variable) {
  const char* path = std::getenv(variable);
  if (!path || !*path) return -1;
  const int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file < 0) std::perror(path);
  return file;
}

std::string to_json(const Totals& totals) {
  std::string text;
  for (const auto& [what, total] : totals)
    text += format("%s\"%s\":{\"count\":%llu,\"bytes\":%llu}", text.empty() ? "" : ",", what.c_str(),
                   (unsigned long long)total.count, (unsigned long long)total.bytes);
  return "{" + text + "}";
}

[[gnu::destructor]] void write_totals() {
  const int file = open_log("SOFTGPU_COUNTS");
  if (file < 0) return;
  std::lock_guard lock(ledger().mutex);
  for (const auto& [device, stages] : ledger().devices) {
    std::string line = format("{\"pid\":%d,\"device\":%d", int(getpid()), device);
    for (std::size_t i = 0; i < stages.size(); ++i)
      line += format(",\"%s\":%s", kStageNames[i], to_json(stages[i]).c_str());
    append(file, line + "}\n");
  }
  close(file);
}

}  // namespace

void record(api::Stage stage, int device, std::string_view what, u64 bytes, int peer) {
  static const int trace = open_log("SOFTGPU_TRACE");
  std::lock_guard lock(ledger().mutex);
  Totals& totals = ledger().devices[device][std::size_t(stage)];
  auto it = totals.find(what);
  if (it == totals.end()) it = totals.emplace(what, Total{}).first;
  ++it->second.count;
  it->second.bytes += bytes;
  if (trace < 0) return;
  const std::string to = peer == api::kNoPeer ? "" : format(",\"peer\":%d", peer);
  append(trace,
         format("{\"pid\":%d,\"device\":%d,\"stage\":\"%s\",\"what\":\"%s\",\"bytes\":%llu%s}\n", int(getpid()), device,
                kStageNames[std::size_t(stage)], it->first.c_str(), (unsigned long long)bytes, to.c_str()));
}

namespace api {

void record(Stage stage, int device, const char* what, u64 bytes, int peer) {
  octet::softgpu::record(stage, device, what, bytes, peer);
}

}  // namespace api
}  // namespace octet::softgpu

using namespace octet::softgpu;

// For tests that find it with dlsym: how often `what` was "called" or "executed" on a device, and the bytes of it all.
extern "C" SOFTGPU_EXPORT unsigned long long softgpu_count(const char* stage, int device, const char* what,
                                                           unsigned long long* bytes) {
  std::lock_guard lock(ledger().mutex);
  const Totals& totals = ledger().devices[device][std::string_view(stage) == kStageNames[0] ? 0 : 1];
  const auto it = totals.find(std::string_view(what));
  const Total total = it == totals.end() ? Total{} : it->second;
  if (bytes) *bytes = total.bytes;
  return total.count;
}
