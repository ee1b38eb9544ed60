#include "comm/nccl_group.h"

#include <algorithm>

#include "comm/row_parts.h"
#include "runtime/base/check.h"

namespace octet {
namespace {

// Keeps the first failure of several calls.
class FirstFailure {
 public:
  void take(ncclResult_t result) {
    if (first_ == ncclSuccess) first_ = result;
  }
  void take(cudaError_t result) { take(result == cudaSuccess ? ncclSuccess : ncclUnhandledCudaError); }
  ncclResult_t get() const { return first_; }

 private:
  ncclResult_t first_ = ncclSuccess;
};

cudaError_t copy_on_device(std::byte* to, const std::byte* from, int64_t num_bytes, cudaStream_t stream) {
  if (to == from || num_bytes == 0) return cudaSuccess;
  return cudaMemcpyAsync(to, from, static_cast<size_t>(num_bytes), cudaMemcpyDeviceToDevice, stream);
}

size_t num_floats(TensorView values) {
  OCTET_CHECK(values.dtype == DType::kF32, "sums of {}", dtype_name(values.dtype));
  return static_cast<size_t>(values.num_elements());
}

class NcclGroup;

// Sums in NCCL's own order, the same for the same shapes on the same layout.
class NcclReducer final : public Reducer {
 public:
  explicit NcclReducer(NcclGroup& group) : group_(group) {}
  void all_reduce(TensorView values, Stream& stream) override;
  TensorView reduce_scatter(TensorView values, std::span<const int64_t> rows_of, Stream& stream) override;

 private:
  NcclGroup& group_;
};

class NcclGroup final : public DeviceComm {
 public:
  NcclGroup(NcclContext& context, std::shared_ptr<NcclCommunicator> communicator, CommProgress::Group& group, int rank,
            int size)
      : context_(context), communicator_(std::move(communicator)), group_(group), rank_(rank), size_(size) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::unique_ptr<Reducer> make_reducer() override { return std::make_unique<NcclReducer>(*this); }

  void all_gather_v(TensorView mine, std::span<const int64_t> rows, TensorView all, Stream& stream) override {
    OCTET_CHECK(std::ssize(rows) == size_ && mine.rows() == rows[static_cast<size_t>(rank_)]);
    const RowParts to(all, rows);
    const auto* data = static_cast<const std::byte*>(mine.data);
    context_.enqueue(
        stream, describe(CollectiveKind::kAllGatherV, to, mine.num_bytes() * (size_ - 1)), [&](cudaStream_t native) {
          if (mine.rows() > 0 && std::ranges::all_of(rows, [&](int64_t count) { return count == mine.rows(); })) {
            return ncclAllGather(data, all.data, static_cast<size_t>(mine.num_bytes()), ncclUint8, comm(), native);
          }
          FirstFailure failure;
          failure.take(copy_on_device(to.data(rank_), data, mine.num_bytes(), native));
          failure.take(ncclGroupStart());
          for (int i = 1; i < size_; ++i) {
            send((rank_ + i) % size_, data, mine.num_bytes(), native, failure);
            const int from = (rank_ - i + size_) % size_;
            receive(from, to.data(from), to.num_bytes(from), native, failure);
          }
          failure.take(ncclGroupEnd());
          return failure.get();
        });
  }

  void all_to_all_v(TensorView rows, std::span<const int64_t> send_rows, TensorView received,
                    std::span<const int64_t> receive_rows, Stream& stream) override {
    OCTET_CHECK(std::ssize(send_rows) == size_ && std::ssize(receive_rows) == size_);
    const RowParts from(rows, send_rows), to(received, receive_rows);
    OCTET_CHECK(from.num_bytes(rank_) == to.num_bytes(rank_));
    context_.enqueue(stream, describe(CollectiveKind::kAllToAllV, to, from.num_bytes_of_others(rank_)),
                     [&](cudaStream_t native) {
                       FirstFailure failure;
                       failure.take(copy_on_device(to.data(rank_), from.data(rank_), from.num_bytes(rank_), native));
                       failure.take(ncclGroupStart());
                       for (int i = 1; i < size_; ++i) {
                         const int ahead = (rank_ + i) % size_, behind = (rank_ - i + size_) % size_;
                         send(ahead, from.data(ahead), from.num_bytes(ahead), native, failure);
                         receive(behind, to.data(behind), to.num_bytes(behind), native, failure);
                       }
                       failure.take(ncclGroupEnd());
                       return failure.get();
                     });
  }

  // What each rank sends in a ring's half of an all-reduce of num_bytes, and receives.
  int64_t half_ring_bytes(int64_t num_bytes) const { return num_bytes * (size_ - 1) / size_; }

  // A sum in which a rank sends and receives so many bytes.
  void enqueue_sum(CollectiveKind kind, int64_t num_bytes, Stream& stream,
                   const std::function<ncclResult_t(cudaStream_t)>& operation) {
    CollectiveQueue::Collective sum;
    sum.group = &group_;
    sum.kind = kind;
    sum.expected_bytes = sum.bytes_sent = num_bytes;
    sum.expected_peers = num_bytes > 0 ? size_ - 1 : 0;
    context_.enqueue(stream, sum, operation);
  }

  ncclComm_t comm() const { return communicator_->get(); }

 private:
  CollectiveQueue::Collective describe(CollectiveKind kind, const RowParts& to, int64_t bytes_sent) const {
    CollectiveQueue::Collective moved;
    moved.group = &group_;
    moved.kind = kind;
    moved.expected_bytes = to.num_bytes_of_others(rank_);
    moved.expected_peers = to.num_others(rank_);
    moved.bytes_sent = bytes_sent;
    return moved;
  }

  // Both within a group of calls.
  void send(int to, const std::byte* data, int64_t num_bytes, cudaStream_t stream, FirstFailure& failure) const {
    if (num_bytes > 0) failure.take(ncclSend(data, static_cast<size_t>(num_bytes), ncclUint8, to, comm(), stream));
  }
  void receive(int from, std::byte* data, int64_t num_bytes, cudaStream_t stream, FirstFailure& failure) const {
    if (num_bytes > 0) failure.take(ncclRecv(data, static_cast<size_t>(num_bytes), ncclUint8, from, comm(), stream));
  }

  NcclContext& context_;
  std::shared_ptr<NcclCommunicator> communicator_;
  CommProgress::Group& group_;
  const int rank_, size_;
};

void NcclReducer::all_reduce(TensorView values, Stream& stream) {
  const size_t count = num_floats(values);
  group_.enqueue_sum(
      CollectiveKind::kAllReduce, 2 * group_.half_ring_bytes(values.num_bytes()), stream, [&](cudaStream_t native) {
        if (count == 0) return ncclSuccess;
        return ncclAllReduce(values.data, values.data, count, ncclFloat32, ncclSum, group_.comm(), native);
      });
}

// In place: this rank's rows of `values`. NCCL scatters equal parts; unequal ones are reduced to their ranks together.
TensorView NcclReducer::reduce_scatter(TensorView values, std::span<const int64_t> rows_of, Stream& stream) {
  const RowParts parts(values, rows_of);
  num_floats(values);
  const int rank = group_.rank();
  const auto count = [&](int of) { return static_cast<size_t>(parts.num_bytes(of)) / sizeof(float); };
  const auto operation = [&](cudaStream_t native) {
    if (values.rows() == 0) return ncclSuccess;
    if (std::ranges::all_of(rows_of, [&](int64_t rows) { return rows == rows_of[0]; })) {
      return ncclReduceScatter(values.data, parts.data(rank), count(rank), ncclFloat32, ncclSum, group_.comm(), native);
    }
    FirstFailure failure;
    failure.take(ncclGroupStart());
    for (int root = 0; root < group_.size(); ++root) {
      if (count(root) == 0) continue;
      failure.take(ncclReduce(parts.data(root), parts.data(root), count(root), ncclFloat32, ncclSum, root,
                              group_.comm(), native));
    }
    failure.take(ncclGroupEnd());
    return failure.get();
  };
  group_.enqueue_sum(CollectiveKind::kReduceScatter, group_.half_ring_bytes(values.num_bytes()), stream, operation);
  int64_t first_row = 0;
  for (int before = 0; before < rank; ++before) first_row += rows_of[static_cast<size_t>(before)];
  return values.slice_rows(first_row, rows_of[static_cast<size_t>(rank)]);
}

class CudaGroupOfOne final : public DeviceComm {
 public:
  explicit CudaGroupOfOne(NcclContext& context) : context_(context) {}

  int rank() const override { return 0; }
  int size() const override { return 1; }
  void all_gather_v(TensorView mine, std::span<const int64_t> rows, TensorView all, Stream& stream) override {
    OCTET_CHECK(rows.size() == 1 && mine.rows() == rows[0]);
    copy(mine, all, stream);
  }
  void all_to_all_v(TensorView rows, std::span<const int64_t>, TensorView received, std::span<const int64_t>,
                    Stream& stream) override {
    copy(rows, received, stream);
  }

 private:
  void copy(TensorView from, TensorView to, Stream& stream) {
    OCTET_CHECK(from.num_bytes() == to.num_bytes());
    context_.check(copy_on_device(static_cast<std::byte*>(to.data), static_cast<const std::byte*>(from.data),
                                  from.num_bytes(), static_cast<cudaStream_t>(stream.native_handle())),
                   "copying rows");
  }

  NcclContext& context_;
};

}  // namespace

std::unique_ptr<DeviceComm> make_nccl_group(NcclContext& context, std::shared_ptr<NcclCommunicator> communicator,
                                            CommProgress::Group& group, int rank, int size) {
  return std::make_unique<NcclGroup>(context, std::move(communicator), group, rank, size);
}

std::unique_ptr<DeviceComm> make_cuda_group_of_one(NcclContext& context) {
  return std::make_unique<CudaGroupOfOne>(context);
}

}  // namespace octet
