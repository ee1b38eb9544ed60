// What the program's file says of how it was built.
#include <cstdio>
#include <memory>

#include "tests/launcher/run_octet.h"

#ifdef OCTET_HARDENED  // not with sanitizers

namespace octet::testing {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

std::string output_of_shell(const std::string& command) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(::popen(command.c_str(), "r"), ::pclose);
  OCTET_CHECK(pipe != nullptr);
  std::string text;
  std::array<char, 4096> buffer{};
  while (const size_t count = std::fread(buffer.data(), 1, buffer.size(), pipe.get()))
    text.append(buffer.data(), count);
  return text;
}

std::string readelf(const std::string& flags) {
  return output_of_shell("LC_ALL=C readelf --wide " + flags + " " + OCTET_BINARY);
}

TEST(Hardening, TheProgramLiesAtRandomAddresses) {
  EXPECT_THAT(readelf("--file-header"), HasSubstr("DYN (Position-Independent Executable file)"));
}

TEST(Hardening, TablesOfFunctionsAreReadOnlyOnceItRuns) {
  EXPECT_THAT(readelf("--program-headers"), HasSubstr("GNU_RELRO"));
  EXPECT_THAT(readelf("--dynamic"), ContainsRegex("FLAGS.*BIND_NOW")) << "all are resolved before";
}

TEST(Hardening, NoMemoryIsBothWrittenAndRun) {
  const std::string segments = readelf("--program-headers");
  EXPECT_THAT(segments, ContainsRegex("GNU_STACK .* RW  "));
  EXPECT_THAT(segments, Not(ContainsRegex("(LOAD|GNU_STACK) .* RWE")));
}

// In our own objects: libraries that are linked in have such calls, too.
TEST(Hardening, OverflowsOfTheStackAndOfBuffersAreNoticed) {
  for (const std::string archive : {OCTET_BASE_ARCHIVE, OCTET_KERNELS_ARCHIVE, OCTET_LAUNCHER_ARCHIVE}) {
    EXPECT_THAT(output_of_shell("nm " + archive), HasSubstr("__stack_chk_fail")) << archive;
  }
  EXPECT_THAT(output_of_shell(std::string("nm ") + OCTET_BASE_ARCHIVE),
              ContainsRegex(" U __(snprintf|read|memcpy)_chk"))
      << "calls that FORTIFY checks";
}

}  // namespace
}  // namespace octet::testing

#endif
