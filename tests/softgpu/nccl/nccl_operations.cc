#include "tests/softgpu/nccl/nccl_operations.h"

#include <algorithm>

#include "tests/softgpu/cudart/runtime_api.h"

namespace octet::softgpu {
namespace {

// Runs the collectives of one rank.
class Collective {
 public:
  Collective(Transport& transport, const Operation& op, u64 sequence)
      : transport_(transport),
        op_(op),
        n_(std::size_t(transport_.ranks())),
        me_(std::size_t(transport_.rank())),
        root_(std::size_t(op.peer)),
        bytes_(op.count * size_of(op.type)),
        header_{u32(op.kind), u32(op.type), op.count, sequence} {}

  void run() {
    switch (op_.kind) {
      case Kind::kAllReduce:
        return all_reduce();
      case Kind::kReduceScatter:
        return reduce_scatter();
      case Kind::kAllGather:
        return exchange([&](std::size_t) { return in(1); }, [&](std::size_t r) { return out(n_) + r * bytes_; });
      case Kind::kAlltoAll:
        return exchange([&](std::size_t r) { return in(n_) + r * bytes_; },
                        [&](std::size_t r) { return out(n_) + r * bytes_; });
      case Kind::kBroadcast:
        return from_root([&](std::size_t) { return in(1); });
      case Kind::kScatter:
        return from_root([&](std::size_t r) { return in(n_) + r * bytes_; });
      case Kind::kGather:
        return to_root([&](std::size_t r) { return out(n_) + r * bytes_; });
      case Kind::kReduce:
        return reduce_to_root();
      default:
        throw TransportError("not a collective");
    }
  }

 private:
  const std::byte* in(u64 blocks) const { return api::readable(op_.send, blocks * bytes_, "NCCL send buffer"); }
  std::byte* out(u64 blocks) const { return api::writable(op_.receive, blocks * bytes_, "NCCL receive buffer"); }

  Transfer to(std::size_t peer, const std::byte* data, u64 bytes) const {
    return {true, int(peer), header_, const_cast<std::byte*>(data), bytes};
  }
  Transfer from(std::size_t peer, std::byte* data, u64 bytes) const { return {false, int(peer), header_, data, bytes}; }

  // Everybody sends source(r) to each rank r and receives into destination(r).
  template <class Source, class Destination>
  void exchange(Source source, Destination destination) {
    if (bytes_ == 0) return;
    std::vector<Transfer> transfers;
    for (std::size_t r = 0; r < n_; ++r) {
      if (r == me_) continue;
      transfers.push_back(to(r, source(r), bytes_));
      transfers.push_back(from(r, destination(r), bytes_));
    }
    std::memmove(destination(me_), source(me_), bytes_);
    transport_.run(transfers);
  }

  template <class Source>
  void from_root(Source source) {
    if (bytes_ == 0) return;
    std::vector<Transfer> transfers;
    if (me_ == root_) {
      std::memmove(out(1), source(me_), bytes_);
      for (std::size_t r = 0; r < n_; ++r)
        if (r != me_) transfers.push_back(to(r, source(r), bytes_));
    } else {
      transfers.push_back(from(root_, out(1), bytes_));
    }
    transport_.run(transfers);
  }

  template <class Destination>
  void to_root(Destination destination) {
    if (bytes_ == 0) return;
    std::vector<Transfer> transfers;
    if (me_ == root_) {
      std::memmove(destination(me_), in(1), bytes_);
      for (std::size_t r = 0; r < n_; ++r)
        if (r != me_) transfers.push_back(from(r, destination(r), bytes_));
    } else {
      transfers.push_back(to(root_, in(1), bytes_));
    }
    transport_.run(transfers);
  }

  void reduce_to_root() {
    std::vector<std::byte> all(me_ == root_ ? n_ * bytes_ : 0);
    to_root([&](std::size_t r) { return all.data() + r * bytes_; });
    if (me_ == root_) combine(all.data(), bytes_, out(1), op_.count);
  }

  // Receives this rank's piece from everybody and reduces it. Piece r is elements [first(r), first(r + 1)).
  template <class First>
  std::vector<std::byte> reduce_pieces(const std::byte* input, First first) {
    const u64 size = size_of(op_.type), mine = (first(me_ + 1) - first(me_)) * size;
    std::vector<std::byte> all(n_ * mine), result(mine);
    std::vector<Transfer> transfers;
    for (std::size_t r = 0; r < n_; ++r) {
      if (r == me_) continue;
      transfers.push_back(to(r, input + first(r) * size, (first(r + 1) - first(r)) * size));
      transfers.push_back(from(r, all.data() + r * mine, mine));
    }
    std::copy_n(input + first(me_) * size, mine, all.data() + me_ * mine);
    transport_.run(transfers);
    combine(all.data(), mine, result.data(), mine / size);
    return result;
  }

  void reduce_scatter() {
    if (bytes_ == 0) return;
    const auto result = reduce_pieces(in(n_), [&](std::size_t r) { return r * op_.count; });
    std::memcpy(out(1), result.data(), bytes_);
  }

  void all_reduce() {
    if (bytes_ == 0) return;
    const u64 size = size_of(op_.type);
    const auto first = [&](std::size_t r) { return op_.count * r / n_; };
    const auto mine = reduce_pieces(in(1), first);
    std::byte* const output = out(1);
    std::ranges::copy(mine, output + first(me_) * size);
    std::vector<Transfer> transfers;
    for (std::size_t r = 0; r < n_; ++r) {
      if (r == me_) continue;
      transfers.push_back(to(r, mine.data(), mine.size()));
      transfers.push_back(from(r, output + first(r) * size, (first(r + 1) - first(r)) * size));
    }
    transport_.run(transfers);
  }

  void combine(const std::byte* all, u64 stride, std::byte* output, u64 count) const {
    std::vector<const std::byte*> inputs;
    for (std::size_t r = 0; r < n_; ++r) inputs.push_back(all + r * stride);
    reduce(inputs, output, count, op_.type, op_.reduction);
  }

  Transport& transport_;
  const Operation& op_;
  std::size_t n_, me_, root_;
  u64 bytes_;
  MessageHeader header_;
};

}  // namespace

const char* name_of(Kind kind) {
  constexpr const char* kNames[] = {"Send",   "Recv",     "AllReduce", "ReduceScatter", "AllGather", "Broadcast",
                                    "Reduce", "AlltoAll", "Gather",    "Scatter",       "CommSplit"};
  return kNames[std::size_t(kind)];
}

std::string describe(const MessageHeader& header) {
  const std::string number = header.sequence ? format(" (number %llu)", (unsigned long long)header.sequence) : "";
  return format("%s%s of %llu elements of type %u", name_of(Kind(header.operation)), number.c_str(),
                (unsigned long long)header.count, header.data_type);
}

void run_collective(Transport& transport, const Operation& operation, u64 sequence) {
  Collective(transport, operation, sequence).run();
}

void run_point_to_point(Transport& transport, const std::vector<Operation>& operations) {
  std::vector<Transfer> transfers;
  std::vector<const Operation*> to_self, from_self;
  for (const Operation& op : operations) {
    const u64 bytes = op.count * size_of(op.type);
    const bool sending = op.kind == Kind::kSend;
    if (op.peer == transport.rank()) {
      (sending ? to_self : from_self).push_back(&op);
      continue;
    }
    const MessageHeader header{u32(Kind::kSend), u32(op.type), op.count, 0};
    std::byte* data = bytes == 0 ? nullptr
                      : sending  ? const_cast<std::byte*>(api::readable(op.send, bytes, "ncclSend"))
                                 : api::writable(op.receive, bytes, "ncclRecv");
    transfers.push_back({sending, op.peer, header, data, bytes});
  }
  if (to_self.size() != from_self.size()) throw TransportError("sends and receives to oneself do not match");
  for (std::size_t i = 0; i < to_self.size(); ++i) {
    const Operation &s = *to_self[i], &r = *from_self[i];
    if (s.count != r.count || s.type != r.type) throw TransportError("sends and receives to oneself do not match");
    const u64 bytes = s.count * size_of(s.type);
    if (bytes)
      std::memmove(api::writable(r.receive, bytes, "ncclRecv"), api::readable(s.send, bytes, "ncclSend"), bytes);
  }
  transport.run(transfers);
}

}  // namespace octet::softgpu
