#include "runtime/service/client/proxy.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

namespace octet {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool ends_with_ignoring_case(std::string_view text, std::string_view end) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; };
  return text.size() >= end.size() && std::ranges::equal(text.substr(text.size() - end.size()), end, {}, lower, lower);
}

// list: names and their ends, separated by commas.
bool lists(std::string_view list, std::string_view host) {
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    std::string_view entry = list.substr(0, comma);
    while (entry.starts_with(' ')) entry.remove_prefix(1);
    while (entry.ends_with(' ')) entry.remove_suffix(1);
    if (!entry.empty() && ends_with_ignoring_case(host, entry)) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

}  // namespace

std::optional<Proxy> proxy_to(const Address& address) {
  if (address.is_local()) return std::nullopt;
  for (const char* name : {"grpc_proxy", "https_proxy", "http_proxy"}) {
    const std::string url = variable(name);
    if (url.empty()) continue;
    const std::string exceptions = variable("no_grpc_proxy");
    if (lists(exceptions.empty() ? variable("no_proxy") : exceptions, address.host)) return std::nullopt;
    return Proxy{name, url};
  }
  return std::nullopt;
}

}  // namespace octet
