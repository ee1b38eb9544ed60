// JobFolder: where MPI keeps the files of a job on this host, so that they are gone with the job however it ends.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "comm/network.h"
#include "runtime/base/status.h"

namespace octet {

class JobFolder {
 public:
  // Makes it where Open MPI would: in the folder that OMPI_MCA_orte_tmpdir_base or TMPDIR names, or /tmp; where that
  // cannot be written, in shared memory, and says so. Removes those that an octet run has left there which was killed.
  // kInvalidInput: nowhere. one_host: also a place for what the ranks
  // share, in shared memory.
  static Result<JobFolder> create(bool one_host);
  JobFolder(JobFolder&& other) noexcept;
  JobFolder& operator=(JobFolder&&) = delete;
  // Removes all of it. No process of the job may run any more.
  ~JobFolder();

  // What tells Open MPI, as "NAME=VALUE".
  std::vector<std::string> environment() const;

 private:
  // Locked while its owner lives.
  struct Folder {
    std::filesystem::path path;  // empty: none
    UniqueFd lock;
  };

  JobFolder() = default;
  static Result<Folder> make(const std::filesystem::path& base);

  bool one_host_ = false;
  Folder session_, shared_;
};

}  // namespace octet
