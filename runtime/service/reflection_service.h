// Server reflection: lets tools read the service's surface from the server itself. The library's own reflection needs
// the shared protobuf (see CMakeLists.txt) and asks for no key.
#pragma once

#include <string>

#include "runtime/service/reflection.grpc.pb.h"

namespace octet {

class ReflectionService final : public grpc::reflection::v1alpha::ServerReflection::CallbackService {
 public:
  // api_key: as the service asks for; empty: none.
  explicit ReflectionService(std::string api_key) : api_key_(std::move(api_key)) {}

  grpc::ServerBidiReactor<grpc::reflection::v1alpha::ServerReflectionRequest,
                          grpc::reflection::v1alpha::ServerReflectionResponse>*
  ServerReflectionInfo(grpc::CallbackServerContext* context) override;

 private:
  const std::string api_key_;
};

}  // namespace octet
