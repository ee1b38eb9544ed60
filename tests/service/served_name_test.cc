// What a served model is called, in answers and in requests.
#include "tests/service/serve_job.h"

namespace octet::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// Asks for two tokens of the model of that name.
Outcome ask(const ServeJob& job, const std::string& model) {
  return run_octet(
      {"generate", "--server", job.address(), "--model", model, "In the", "--max-tokens", "2", "--temperature", "0"});
}

// The service knows one name, and names it to who asks for another.
void expect_name(const ServeJob& job, const std::string& name) {
  EXPECT_EQ(ask(job, name).exit_code, 0) << ask(job, name).err;
  const Outcome other = ask(job, "another");
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_THAT(other.err, HasSubstr("'" + name + "'"));
}

TEST(ServedName, IsTheFoldersUnlessItIsGiven) {
  expect_name(ServeJob({.flags = {"--model", kDemoModel}}), "octet-demo");
  expect_name(ServeJob({.flags = {"--model", kDemoModel, "--served-model-name", "my org/my model"}}),
              "my org/my model");
}

TEST(ServedName, OfACacheFolderIsOrganisationAndName) {
  const TempFolder folder;
  const fs::path cache = folder / "models--some-org--a-model";
  fs::create_directories(cache / "refs");
  fs::create_directories(cache / "snapshots");
  write_file(cache / "refs" / "main", "0123abcd");
  fs::create_directory_symlink(kDemoModel, cache / "snapshots" / "0123abcd");
  expect_name(ServeJob({.flags = {"--model", cache}}), "some-org/a-model");
}

}  // namespace
}  // namespace octet::testing
