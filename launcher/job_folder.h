// JobFolder: where MPI keeps the files of a job on this host, so that they are gone with the job however it ends.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "runtime/base/status.h"

namespace octet {

class JobFolder {
 public:
  // Makes it where Open MPI would: in the folder that OMPI_MCA_orte_tmpdir_base or TMPDIR names, or /tmp; where that
  // cannot be written, in shared memory, and says so. kInvalidInput: nowhere. one_host: also a place for what the ranks
  // share, in shared memory.
  static Result<JobFolder> create(bool one_host);
  JobFolder(JobFolder&& other) noexcept;
  JobFolder& operator=(JobFolder&&) = delete;
  // Removes all of it. No process of the job may run any more.
  ~JobFolder();

  // What tells Open MPI, as "NAME=VALUE".
  std::vector<std::string> environment() const;

 private:
  JobFolder() = default;

  bool one_host_ = false;
  std::filesystem::path session_, shared_;  // empty: none
};

}  // namespace octet
