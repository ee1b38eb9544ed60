#include "runtime/base/address.h"

#include <arpa/inet.h>
#include <sys/un.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "runtime/base/quote.h"

namespace octet {
namespace {

constexpr std::string_view kUnix = "unix:";
constexpr size_t kMaxSocketFile = sizeof(sockaddr_un::sun_path) - 1;
constexpr size_t kMaxHost = 253;  // RFC 1035, section 2.3.4, as text

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_visible(char c) { return c > ' ' && c < 0x7f; }
bool is_control(char c) { return (c >= 0 && c < ' ') || c == 0x7f; }
bool is_name_char(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' || c == '.';
}

bool is_ipv4(const std::string& host) {
  in_addr parsed{};
  return inet_pton(AF_INET, host.c_str(), &parsed) == 1;
}

// The address without its zone ("%eth0"), as 16 bytes.
std::optional<in6_addr> ipv6_of(const std::string& host) {
  const size_t percent = host.find('%');
  const std::string zone = percent == std::string::npos ? "eth0" : host.substr(percent + 1);
  in6_addr parsed{};
  if (host.find('\0') != std::string::npos) return std::nullopt;  // inet_pton would stop there
  if (zone.empty() || !std::ranges::all_of(zone, is_name_char)) return std::nullopt;
  if (inet_pton(AF_INET6, host.substr(0, percent).c_str(), &parsed) != 1) return std::nullopt;
  return parsed;
}

// A name whose last part is a number is meant as an IPv4 address.
bool looks_like_ipv4(std::string_view host) {
  const std::string_view last = host.substr(host.rfind('.') + 1);
  return !last.empty() && std::ranges::all_of(last, is_digit);
}

class AddressParser {
 public:
  AddressParser(std::string_view text, std::optional<uint16_t> default_port)
      : text_(text), default_port_(default_port) {}

  Result<Address> parse() const {
    if (text_.starts_with(kUnix)) return parse_socket_file();
    if (text_.find("://") != std::string_view::npos) return error("what stands before :// is left out");
    if (text_.starts_with('[')) return parse_bracketed();
    const size_t colon = text_.rfind(':');
    if (colon != std::string_view::npos && text_.find(':') != colon) return unbracketed_ipv6();
    Address address{.host = std::string(text_.substr(0, colon)), .port = 0, .socket_file = {}};
    OCTET_RETURN_IF_ERROR(check_host(address.host));
    OCTET_RETURN_IF_ERROR(read_port(colon == std::string_view::npos ? "" : text_.substr(colon), &address.port));
    return address;
  }

 private:
  Status error(std::string_view what) const {
    const bool plain = !text_.empty() && text_.size() <= kMaxHost && std::ranges::all_of(text_, is_visible);
    return invalid_input("{}: {}; write HOST:PORT, [IPv6]:PORT or unix:PATH", plain ? std::string(text_) : quote(text_),
                         what);
  }

  Result<Address> parse_socket_file() const {
    std::string_view path = text_.substr(kUnix.size());
    while (path.starts_with("//")) path.remove_prefix(1);  // as a URL writes it
    if (path.empty() || std::ranges::any_of(path, is_control)) return error("names no socket file");
    if (path.size() > kMaxSocketFile) {
      return error(fmt::format("the path of a socket file has at most {} bytes", kMaxSocketFile));
    }
    return Address{.host = {}, .port = 0, .socket_file = std::string(path)};
  }

  Result<Address> parse_bracketed() const {
    const size_t end = text_.find(']');
    if (end == std::string_view::npos) return error("the closing bracket is missing");
    Address address{.host = std::string(text_.substr(1, end - 1)), .port = 0, .socket_file = {}};
    if (!ipv6_of(address.host)) return error("there is no IPv6 address between the brackets");
    OCTET_RETURN_IF_ERROR(read_port(text_.substr(end + 1), &address.port));
    return address;
  }

  // Several colons without brackets: where the address ends and the port begins is anybody's guess.
  Status unbracketed_ipv6() const {
    const size_t colon = text_.rfind(':');
    const std::string head(text_.substr(0, colon));
    const std::string_view port = text_.substr(colon + 1);
    if (ipv6_of(head) && !port.empty() && std::ranges::all_of(port, is_digit)) {
      return error(fmt::format("an IPv6 address stands in brackets, [{}]:{}", head, port));
    }
    if (ipv6_of(std::string(text_))) return error("an IPv6 address stands in brackets");
    return error("has more than one colon");
  }

  Status check_host(const std::string& host) const {
    if (host == "unix") return error("names no socket file");  // with a port it would be one
    if (host.empty()) return error("the host is missing (0.0.0.0 is every IPv4 address of this host)");
    if (std::ranges::all_of(text_, is_digit)) return error("the host or the port is missing");
    if (host.size() > kMaxHost || !std::ranges::all_of(host, is_name_char)) return error("is no name of a host");
    if (looks_like_ipv4(host) && !is_ipv4(host)) return error("is no IPv4 address");
    return ok_status();
  }

  // text: ":PORT", or empty.
  Status read_port(std::string_view text, uint16_t* port) const {
    if (text.empty() && default_port_) {
      *port = *default_port_;
      return ok_status();
    }
    if (!text.starts_with(':') || text.size() < 2) return error("the port is missing");
    const char* end = text.data() + text.size();
    const auto read = std::from_chars(text.data() + 1, end, *port);
    if (read.ec != std::errc() || read.ptr != end) return error("the port is no number up to 65535");
    if (*port == 0 && default_port_) return error("nobody can be asked at port 0");
    return ok_status();
  }

  std::string_view text_;
  std::optional<uint16_t> default_port_;
};

}  // namespace

bool Address::is_local() const {
  if (is_unix()) return true;
  std::string name = host;
  std::ranges::transform(name, name.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  if (name == "localhost" || name.ends_with(".localhost")) return true;
  if (is_ipv4(name)) return name.starts_with("127.");
  const auto ipv6 = ipv6_of(name);
  if (!ipv6) return false;
  return IN6_IS_ADDR_LOOPBACK(&*ipv6) || (IN6_IS_ADDR_V4MAPPED(&*ipv6) && ipv6->s6_addr[12] == 127);
}

std::string Address::text() const {
  if (is_unix()) return fmt::format("{}{}", kUnix, socket_file);
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
}

Result<Address> parse_listen_address(std::string_view text) { return AddressParser(text, std::nullopt).parse(); }

Result<Address> parse_server_address(std::string_view text) { return AddressParser(text, kDefaultServicePort).parse(); }

}  // namespace octet
