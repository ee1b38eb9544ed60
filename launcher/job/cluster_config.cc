#include "launcher/job/cluster_config.h"

#include <algorithm>
#include <numeric>
#include <sstream>

#include "launcher/toml_table.h"
#include "runtime/base/quote.h"
#include "runtime/base/read_file.h"

namespace octet {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;
constexpr int kMaxRanks = 4096;

Status read_layout(const toml::table& table, const std::string& path, ClusterConfig& config) {
  TableReader reader(table, path);
  reader.integer("tp", config.layout.tp, 1, 8);
  reader.integer("dp", config.layout.dp, 1, kMaxRanks);
  reader.integer("ep", config.layout.ep, 1, kMaxRanks);
  reader.integer("etp", config.layout.etp, 1, 8);
  reader.text("exchange", config.exchange);
  reader.text("placement", config.placement);
  return reader.finish();
}

Status read_limits(const toml::table& table, const std::string& path, ClusterConfig& config) {
  TableReader reader(table, path);
  reader.seconds("heartbeat", config.heartbeat_limit);
  reader.seconds("collective", config.collective_limit);
  return reader.finish();
}

// A name that neither mpirun's --host list nor a shell could take for something else.
bool is_host_name(const std::string& name) {
  return !name.empty() && name[0] != '-' && std::ranges::all_of(name, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '-' ||
           c == '_';
  });
}

Status read_host(const toml::node& node, const std::string& path, std::vector<ClusterHost>& hosts) {
  const auto line = node.source().begin.line;
  if (!node.is_table()) return invalid_input("{}:{}: hosts: a table [[hosts]] for each host is expected", path, line);
  ClusterHost host;
  TableReader reader(*node.as_table(), path);
  reader.text("name", host.name);
  reader.integer("slots", host.slots, 1, kMaxRanks);
  OCTET_RETURN_IF_ERROR(reader.finish());
  if (host.name.empty()) return invalid_input("{}:{}: hosts: a host needs a name", path, line);
  if (!is_host_name(host.name)) return invalid_input("{}:{}: hosts: {} is no host name", path, line, quote(host.name));
  if (std::ranges::find(hosts, host.name, &ClusterHost::name) != hosts.end()) {
    return invalid_input("{}:{}: hosts: {} stands here twice", path, line, host.name);
  }
  hosts.push_back(std::move(host));
  return ok_status();
}

Result<int> hostfile_slots(const std::string& word) {
  const std::string number = word.substr(word.find('=') + 1);
  const bool is_number = !number.empty() && number.size() < 5 &&
                         std::ranges::all_of(number, [](unsigned char c) { return std::isdigit(c) != 0; });
  if (!is_number || std::stoi(number) < 1 || std::stoi(number) > kMaxRanks) {
    return invalid_input("{}: slots are a whole number from 1 to {}", quote(word), kMaxRanks);
  }
  return std::stoi(number);
}

}  // namespace

std::vector<std::pair<std::string, std::string>> ClusterConfig::command_flags() const {
  std::vector<std::pair<std::string, std::string>> flags;
  const auto add = [&flags](const char* name, const std::string& value) {
    if (!value.empty() && value != "0") flags.emplace_back(name, value);
  };
  const auto seconds = [](const std::optional<double>& value) { return value ? fmt::format("{}", *value) : ""; };
  add("--model", model);
  add("--device", device);
  add("--kv-dtype", kv_dtype);
  add("--tp", std::to_string(layout.tp));
  add("--dp", std::to_string(layout.dp));
  add("--ep", std::to_string(layout.ep));
  add("--etp", std::to_string(layout.etp));
  add("--exchange", exchange);
  add("--placement", placement);
  add("--heartbeat-limit", seconds(heartbeat_limit));
  add("--collective-limit", seconds(collective_limit));
  return flags;
}

Result<ClusterConfig> parse_cluster_config(std::string_view text, const std::string& path) {
  toml::table table;
  try {
    table = toml::parse(text);
  } catch (const toml::parse_error& error) {
    return toml_error(path, error);
  }
  ClusterConfig config;
  TableReader reader(table, path);
  reader.integer("ranks", config.layout.world, 1, kMaxRanks);
  reader.text("model", config.model);
  reader.text("binary", config.binary);
  reader.text("device", config.device);
  reader.text("kv_dtype", config.kv_dtype);
  reader.integer("device_memory_gb", config.device_memory, 1, 1 << 20);
  reader.text("interface", config.interface);
  reader.texts("mpirun_args", config.mpirun_args);
  const toml::table* layout = reader.table("layout");
  const toml::table* limits = reader.table("limits");
  const toml::array* hosts = reader.list("hosts");
  OCTET_RETURN_IF_ERROR(reader.finish());
  if (layout != nullptr) OCTET_RETURN_IF_ERROR(read_layout(*layout, path, config));
  if (limits != nullptr) OCTET_RETURN_IF_ERROR(read_limits(*limits, path, config));
  for (size_t i = 0; hosts != nullptr && i < hosts->size(); ++i) {
    OCTET_RETURN_IF_ERROR(read_host(*hosts->get(i), path, config.hosts));
  }
  return config;
}

Result<ClusterConfig> read_cluster_config(const std::string& path) {
  OCTET_ASSIGN_OR_RETURN(const std::string text, read_text_file(path, kMaxFileBytes));
  return parse_cluster_config(text, path);
}

Result<std::vector<ClusterHost>> parse_hostfile(std::string_view text, const std::string& path) {
  std::vector<ClusterHost> hosts;
  std::istringstream lines{std::string(text)};
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    std::istringstream words(line.substr(0, line.find('#')));
    ClusterHost host;
    if (!(words >> host.name)) continue;
    if (!is_host_name(host.name)) return invalid_input("{}:{}: {} is no host name", path, number, quote(host.name));
    for (std::string word; words >> word;) {
      if (word.starts_with("max_slots=") || word.starts_with("max-slots=")) continue;
      if (!word.starts_with("slots=")) {
        return invalid_input("{}:{}: {}: a line is `name slots=N`", path, number, quote(word));
      }
      const auto slots = hostfile_slots(word);
      if (!slots.ok()) return invalid_input("{}:{}: {}", path, number, slots.status().message());
      host.slots = *slots;
    }
    const auto known = std::ranges::find(hosts, host.name, &ClusterHost::name);
    if (known == hosts.end()) {
      hosts.push_back(std::move(host));
    } else {
      known->slots += host.slots;
    }
  }
  if (hosts.empty()) return invalid_input("{}: names no host", path);
  return hosts;
}

Result<std::vector<ClusterHost>> read_hostfile(const std::string& path) {
  OCTET_ASSIGN_OR_RETURN(const std::string text, read_text_file(path, kMaxFileBytes));
  return parse_hostfile(text, path);
}

int total_slots(const std::vector<ClusterHost>& hosts) {
  return std::accumulate(hosts.begin(), hosts.end(), 0,
                         [](int sum, const ClusterHost& host) { return sum + host.slots; });
}

std::vector<size_t> host_of_ranks(const std::vector<ClusterHost>& hosts, int num_ranks) {
  const size_t beyond = static_cast<size_t>(std::max(0, num_ranks - total_slots(hosts)));
  std::vector<size_t> host_of_rank;
  for (size_t host = 0; host < hosts.size(); ++host) {
    const size_t extra = beyond / hosts.size() + (host < beyond % hosts.size() ? 1 : 0);
    host_of_rank.insert(host_of_rank.end(), static_cast<size_t>(hosts[host].slots) + extra, host);
  }
  host_of_rank.resize(static_cast<size_t>(num_ranks));
  return host_of_rank;
}

}  // namespace octet
