// Server reflection: lets tools read the service's surface from the server itself. The library's own reflection needs
// the shared protobuf (see CMakeLists.txt) and asks for no key.
#pragma once

#include "runtime/service/reflection.grpc.pb.h"
#include "runtime/service/tenants.h"

namespace octet {

class ReflectionService final : public grpc::reflection::v1alpha::ServerReflection::CallbackService {
 public:
  // Answers those whom `tenants` knows, which outlives it.
  explicit ReflectionService(const Tenants& tenants) : tenants_(tenants) {}

  grpc::ServerBidiReactor<grpc::reflection::v1alpha::ServerReflectionRequest,
                          grpc::reflection::v1alpha::ServerReflectionResponse>*
  ServerReflectionInfo(grpc::CallbackServerContext* context) override;

 private:
  const Tenants& tenants_;
};

}  // namespace octet
