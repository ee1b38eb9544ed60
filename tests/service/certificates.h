// Certificates for tests, made with the openssl program.
#pragma once

#include <cstdlib>
#include <string>

#include "runtime/base/check.h"
#include "tests/base/temp_folder.h"

namespace octet::testing {

// An authority, and certificates of a server and a client by it.
class Certificates {
 public:
  Certificates() {
    run("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem");
    for (const std::string name : {"server", "client"}) {
      run("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -addext "
          "subjectAltName=IP:127.0.0.1 -keyout " +
          name + ".key -out " + name + ".csr");
      run("x509 -req -in " + name +
          ".csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -copy_extensions copy -out " + name + ".pem");
    }
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  std::string text(const std::string& name) const { return read_file(folder_ / name); }

 private:
  void run(const std::string& arguments) const {
    const std::string command = "cd " + folder_.path().string() + " && openssl " + arguments + " 2>/dev/null";
    OCTET_CHECK(std::system(command.c_str()) == 0, "{}", command);
  }

  TempFolder folder_;
};

}  // namespace octet::testing
