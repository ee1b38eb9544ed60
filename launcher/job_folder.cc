#include "launcher/job_folder.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "runtime/base/log.h"

namespace octet {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSharedMemory = "/dev/shm";
constexpr const char* kBaseVariable = "OMPI_MCA_orte_tmpdir_base";

// A new folder in `base`, or errno's words.
Result<fs::path> make_folder(const fs::path& base) {
  std::string name = base / "octet-run-XXXXXX";
  if (mkdtemp(name.data()) == nullptr) return failed("{}", std::strerror(errno));
  return fs::path(name);
}

// The folder that Open MPI would use.
fs::path usual_base() {
  for (const char* name : {kBaseVariable, "TMPDIR"}) {
    if (const char* value = std::getenv(name); value != nullptr && *value != '\0') return value;
  }
  return "/tmp";
}

}  // namespace

Result<JobFolder> JobFolder::create(bool one_host) {
  JobFolder folder;
  folder.one_host_ = one_host;
  const fs::path base = usual_base();
  auto session = make_folder(base);
  if (!session.ok()) {
    const std::string reason = session.status().message();
    session = make_folder(kSharedMemory);
    if (!session.ok()) {
      return invalid_input("{}: {}: MPI needs a folder for its files: set TMPDIR to one that can be written",
                           base.string(), reason);
    }
    log_warning("{}: {}: MPI's files go to {}; TMPDIR may name a better place", base.string(), reason, kSharedMemory);
  }
  folder.session_ = *std::move(session);
  if (!one_host) return folder;
  // Without it ranks share files of the session's folder, which may be slower.
  if (auto shared = make_folder(kSharedMemory); shared.ok()) folder.shared_ = *std::move(shared);
  return folder;
}

JobFolder::JobFolder(JobFolder&& other) noexcept
    : one_host_(other.one_host_),
      session_(std::exchange(other.session_, {})),
      shared_(std::exchange(other.shared_, {})) {}

JobFolder::~JobFolder() {
  std::error_code ignored;
  for (const fs::path& path : {session_, shared_}) {
    if (!path.empty()) fs::remove_all(path, ignored);
  }
}

// Other hosts do not have this folder: there Open MPI uses what it always does, and its daemon removes it.
std::vector<std::string> JobFolder::environment() const {
  if (!one_host_) {
    if (std::getenv(kBaseVariable) != nullptr) return {};  // Open MPI takes one or the other
    return {"OMPI_MCA_orte_local_tmpdir_base=" + session_.string()};
  }
  std::vector<std::string> environment = {std::string(kBaseVariable) + "=" + session_.string()};
  if (!shared_.empty()) environment.push_back("OMPI_MCA_btl_vader_backing_directory=" + shared_.string());
  return environment;
}

}  // namespace octet
