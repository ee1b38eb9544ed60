#include "runtime/base/secret_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "runtime/base/read_file.h"

namespace octet {
namespace {

// kInvalidInput where the file has any of these permission bits.
Status refuse_mode(const std::filesystem::path& path, mode_t refused, const char* what, const char* mend) {
  struct stat facts {};
  if (stat(path.c_str(), &facts) != 0) return invalid_input("{}: {}", path.string(), std::strerror(errno));
  if (!S_ISREG(facts.st_mode)) return ok_status();  // whoever reads it says what is wrong
  if (facts.st_uid == 0 && geteuid() != 0) refused &= ~static_cast<mode_t>(S_IRGRP);
  if ((facts.st_mode & refused) == 0) return ok_status();
  return invalid_input("{}: others than its owner can {} it (mode {:04o}): run chmod {} {}", path.string(), what,
                       facts.st_mode & 07777U, mend, path.string());
}

}  // namespace

Result<std::string> read_secret_file(const std::filesystem::path& path, int64_t max_bytes) {
  OCTET_RETURN_IF_ERROR(refuse_mode(path, S_IRWXG | S_IRWXO, "read", "600"));
  return read_text_file(path, max_bytes);
}

Status check_written_by_owner_alone(const std::filesystem::path& path) {
  return refuse_mode(path, S_IWGRP | S_IWOTH, "write", "go-w");
}

}  // namespace octet
