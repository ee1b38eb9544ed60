#include "runtime/base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>

namespace octet {

Status init_log(const std::string& level, const std::string& label) {
  const auto parsed = spdlog::level::from_str(level);
  if (parsed == spdlog::level::off && level != "off") {
    return invalid_input("--log-level {}: not a level (debug, info, warn, error, off)", level);
  }
  auto logger = std::make_shared<spdlog::logger>("octet", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  logger->set_pattern(label + ": %^%v%$");
  logger->set_level(parsed);
  spdlog::set_default_logger(std::move(logger));
  return ok_status();
}

}  // namespace octet
