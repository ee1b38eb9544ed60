#include "runtime/service/grpc/reflection_service.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <array>
#include <set>

#include "runtime/service/api_key.h"
#include "runtime/service/grpc/bearer_token.h"
#include "runtime/service/grpc/rpc_status.h"
#include "runtime/service/health.grpc.pb.h"
#include "runtime/service/octet.grpc.pb.h"

namespace octet {
namespace {

namespace reflection = grpc::reflection::v1alpha;
using google::protobuf::DescriptorPool;
using google::protobuf::FileDescriptor;
using reflection::ServerReflectionRequest;
using reflection::ServerReflectionResponse;

void add_file(const FileDescriptor& file, std::set<const FileDescriptor*>& added,
              reflection::FileDescriptorResponse& response) {
  if (!added.insert(&file).second) return;
  google::protobuf::FileDescriptorProto proto;
  file.CopyTo(&proto);
  response.add_file_descriptor_proto(proto.SerializeAsString());
  for (int i = 0; i < file.dependency_count(); ++i) add_file(*file.dependency(i), added, response);
}

void answer_with_file(const FileDescriptor* file, ServerReflectionResponse& response) {
  if (file == nullptr) {
    response.mutable_error_response()->set_error_code(grpc::StatusCode::NOT_FOUND);
    response.mutable_error_response()->set_error_message("not found");
    return;
  }
  std::set<const FileDescriptor*> added;
  add_file(*file, added, *response.mutable_file_descriptor_response());
}

void answer(const ServerReflectionRequest& request, ServerReflectionResponse& response) {
  const DescriptorPool& pool = *DescriptorPool::generated_pool();
  response.set_valid_host(request.host());
  *response.mutable_original_request() = request;
  switch (request.message_request_case()) {
    case ServerReflectionRequest::kFileByFilename:
      return answer_with_file(pool.FindFileByName(request.file_by_filename()), response);
    case ServerReflectionRequest::kFileContainingSymbol:
      return answer_with_file(pool.FindFileContainingSymbol(request.file_containing_symbol()), response);
    case ServerReflectionRequest::kListServices:
      for (const char* name : {v1::Generation::service_full_name(), grpc::health::v1::Health::service_full_name(),
                               reflection::ServerReflection::service_full_name()}) {
        response.mutable_list_services_response()->add_service()->set_name(name);
      }
      return;
    case ServerReflectionRequest::MESSAGE_REQUEST_NOT_SET:
      response.mutable_error_response()->set_error_code(grpc::StatusCode::UNIMPLEMENTED);
      response.mutable_error_response()->set_error_message("not offered");
  }
}

// Question by question; deletes itself.
class Conversation final : public grpc::ServerBidiReactor<ServerReflectionRequest, ServerReflectionResponse> {
 public:
  explicit Conversation(bool may_ask) {
    if (may_ask) {
      StartRead(&request_);
    } else {
      Finish(missing_key());
    }
  }
  void OnReadDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);
    response_.Clear();
    answer(request_, response_);
    StartWrite(&response_);
  }
  void OnWriteDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);
    StartRead(&request_);
  }
  void OnDone() override { delete this; }

 private:
  ServerReflectionRequest request_;
  ServerReflectionResponse response_;
};

}  // namespace

grpc::ServerBidiReactor<ServerReflectionRequest, ServerReflectionResponse>* ReflectionService::ServerReflectionInfo(
    grpc::CallbackServerContext* context) {
  return new Conversation(tenants_.identify(bearer_token(*context)) != nullptr);
}

}  // namespace octet
