// Where the model is in the folder that a user names, and what it is called.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "runtime/base/status.h"

namespace octet {

// The folder of the model that `path` names: a folder of a Hugging Face cache (models--ORGANISATION--NAME) stands for
// the snapshot that its refs/main names, a folder without a model for its only subfolder that has one; any other path
// for itself. kInvalidInput where a cache folder or several subfolders leave it open. Applied to its own result it
// changes nothing.
Result<std::filesystem::path> resolve_model_folder(const std::filesystem::path& path);

// What a model is called that nobody has named: "ORGANISATION/NAME" in a Hugging Face cache, else the folder's name.
std::string model_name(const std::filesystem::path& folder);

// The sentencepiece file of a folder: tokenizer.model, else the highest of tokenizer.model.v1, .v2, …, as Mistral names
// them; empty: there is none.
std::filesystem::path find_tokenizer_file(const std::filesystem::path& folder);

}  // namespace octet
