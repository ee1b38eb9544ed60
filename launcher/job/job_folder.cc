#include "launcher/job/job_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>

#include "runtime/base/log.h"

namespace octet {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSharedMemory = "/dev/shm";
constexpr const char* kBaseVariable = "OMPI_MCA_orte_tmpdir_base";

constexpr std::string_view kPrefix = "octet-run-";

// The folder, locked; not valid: somebody else has the lock, or it is no folder of this user's.
UniqueFd lock_folder(const fs::path& path) {
  UniqueFd folder(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat facts {};
  const bool is_ours = folder.valid() && fstat(folder.get(), &facts) == 0 && facts.st_uid == geteuid();
  return is_ours && flock(folder.get(), LOCK_EX | LOCK_NB) == 0 ? std::move(folder) : UniqueFd();
}

// Folders whose owner was killed before it could remove them.
void remove_abandoned(const fs::path& base) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(base, ignored)) {
    if (!entry.path().filename().string().starts_with(kPrefix)) continue;
    if (const UniqueFd lock = lock_folder(entry.path()); lock.valid()) fs::remove_all(entry.path(), ignored);
  }
}

// The folder that Open MPI would use.
fs::path usual_base() {
  for (const char* name : {kBaseVariable, "TMPDIR"}) {
    if (const char* value = std::getenv(name); value != nullptr && *value != '\0') return value;
  }
  return "/tmp";
}

}  // namespace

// Errno's words where there can be none.
Result<JobFolder::Folder> JobFolder::make(const fs::path& base) {
  remove_abandoned(base);
  while (true) {
    std::string name = base / (std::string(kPrefix) + "XXXXXX");
    if (mkdtemp(name.data()) == nullptr) return failed("{}", std::strerror(errno));
    Folder folder{name, lock_folder(name)};
    // Another octet run may have found it before it was locked.
    if (folder.lock.valid() && fs::exists(name)) return folder;
  }
}

Result<JobFolder> JobFolder::create(bool one_host) {
  JobFolder folder;
  folder.one_host_ = one_host;
  const fs::path base = usual_base();
  auto session = make(base);
  if (!session.ok()) {
    const std::string reason = session.status().message();
    session = make(kSharedMemory);
    if (!session.ok()) {
      return invalid_input("{}: {}: MPI needs a folder for its files: set TMPDIR to one that can be written",
                           base.string(), reason);
    }
    log_warning("{}: {}: MPI's files go to {}; TMPDIR may name a better place", base.string(), reason, kSharedMemory);
  }
  folder.session_ = *std::move(session);
  if (!one_host) return folder;
  // Without it ranks share files of the session's folder, which may be slower.
  if (auto shared = make(kSharedMemory); shared.ok()) folder.shared_ = *std::move(shared);
  return folder;
}

JobFolder::JobFolder(JobFolder&& other) noexcept
    : one_host_(other.one_host_),
      session_(std::exchange(other.session_, {})),
      shared_(std::exchange(other.shared_, {})) {}

JobFolder::~JobFolder() {
  std::error_code ignored;
  for (const Folder* folder : {&session_, &shared_}) {
    if (!folder->path.empty()) fs::remove_all(folder->path, ignored);
  }
}

// Other hosts do not have this folder: there Open MPI uses what it always does, and its daemon removes it.
std::vector<std::string> JobFolder::environment() const {
  if (!one_host_) {
    if (std::getenv(kBaseVariable) != nullptr) return {};  // Open MPI takes one or the other
    return {"OMPI_MCA_orte_local_tmpdir_base=" + session_.path.string()};
  }
  std::vector<std::string> environment = {std::string(kBaseVariable) + "=" + session_.path.string()};
  if (!shared_.path.empty()) environment.push_back("OMPI_MCA_btl_vader_backing_directory=" + shared_.path.string());
  return environment;
}

}  // namespace octet
