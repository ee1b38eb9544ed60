#include "comm/mpi_comm.h"

#include <mpi.h>
#include <sched.h>

#include <algorithm>
#include <bit>
#include <climits>
#include <cstdlib>
#include <numeric>

#include "comm/local_comm.h"
#include "comm/local_world.h"
#include "comm/mpi_transfers.h"
#include "comm/row_parts.h"
#include "runtime/base/host_limits.h"

namespace octet {
namespace {

// Large enough to cost nothing, small enough that a rank that slept through the start of a long message soon notices.
constexpr int64_t kMaxPiece = int64_t{8} << 20;

// An MPI communicator of its own, so that nobody else's messages can be taken for ours.
class OwnedComm {
 public:
  explicit OwnedComm(MPI_Comm comm) : comm_(comm) {
    MPI_Comm_rank(comm, &rank_);
    MPI_Comm_size(comm, &size_);
  }
  ~OwnedComm() { MPI_Comm_free(&comm_); }
  OwnedComm(const OwnedComm&) = delete;
  OwnedComm& operator=(const OwnedComm&) = delete;

  MPI_Comm get() const { return comm_; }
  int rank() const { return rank_; }
  int size() const { return size_; }

 private:
  MPI_Comm comm_;
  int rank_ = 0, size_ = 1;
};

MPI_Comm duplicate(MPI_Comm comm) {
  MPI_Comm copy = MPI_COMM_NULL;
  MPI_Comm_dup(comm, &copy);
  return copy;
}

// Broadcasts along a binomial tree; gathers straight to the root.
class MpiHostComm final : public HostComm {
 public:
  MpiHostComm(MPI_Comm comm, bool core_to_itself, CommProgress& progress, CommProgress::Group& group)
      : comm_(comm), transfers_(comm, core_to_itself, INT_MAX), progress_(progress), group_(group) {}

  int rank() const override { return comm_.rank(); }
  int size() const override { return comm_.size(); }

  void broadcast(std::vector<std::byte>& data, int root) override {
    CollectiveScope scope(progress_, group_, CollectiveKind::kBroadcast, 0, rank() == root ? 0 : 1);
    // Numbered from the root; a rank's parent is itself without its highest bit, its children have one bit more.
    const unsigned position = static_cast<unsigned>((rank() - root + size()) % size());
    const auto rank_at = [&](unsigned place) {
      return static_cast<int>((place + static_cast<unsigned>(root)) % static_cast<unsigned>(size()));
    };
    const unsigned above = std::bit_floor(position);
    if (position != 0) take_message(rank_at(position - above), data, scope);
    for (unsigned bit = std::max(above * 2, 1U); position + bit < static_cast<unsigned>(size()); bit *= 2) {
      transfers_.send(rank_at(position + bit), data.data(), static_cast<int64_t>(data.size()));
    }
    transfers_.wait_all(scope);
  }

  std::vector<std::vector<std::byte>> gather(std::span<const std::byte> mine, int root) override {
    CollectiveScope scope(progress_, group_, CollectiveKind::kGather, 0, rank() == root ? size() - 1 : 0);
    std::vector<std::vector<std::byte>> all;
    if (rank() != root) {
      transfers_.send(root, mine.data(), static_cast<int64_t>(mine.size()));
      transfers_.wait_all(scope);
      return all;
    }
    for (int from = 0; from < size(); ++from) {
      if (from == root) {
        all.emplace_back(mine.begin(), mine.end());
      } else {
        take_message(from, all.emplace_back(), scope);
      }
    }
    return all;
  }

 private:
  void take_message(int from, std::vector<std::byte>& data, CollectiveScope& scope) {
    data.resize(static_cast<size_t>(transfers_.wait_for_message(from)));
    transfers_.receive(from, data.data(), static_cast<int64_t>(data.size()));
    transfers_.wait_all(scope);
  }

  OwnedComm comm_;
  MpiTransfers transfers_;
  CommProgress& progress_;
  CommProgress::Group& group_;
};

// Every rank exchanges with every other one directly, each starting behind itself so that not all meet at one rank.
class MpiGroup final : public DeviceComm {
 public:
  MpiGroup(MPI_Comm comm, bool core_to_itself, CommProgress& progress, CommProgress::Group& group)
      : comm_(comm), transfers_(comm, core_to_itself, kMaxPiece), progress_(progress), group_(group) {}

  int rank() const override { return comm_.rank(); }
  int size() const override { return comm_.size(); }

  void all_gather_v(TensorView mine, std::span<const int64_t> rows, TensorView all, Stream&) override {
    check_size(rows);
    OCTET_CHECK(mine.rows() == rows[static_cast<size_t>(rank())], "{} rows", mine.rows());
    const RowParts to(all, rows);
    const auto* data = static_cast<const std::byte*>(mine.data);
    auto scope = begin(CollectiveKind::kAllGatherV, to);
    receive_parts(to);
    for (int i = 1; i < size() && mine.rows() > 0; ++i) {
      transfers_.send((rank() + i) % size(), data, to.num_bytes(rank()));
    }
    copy_part(to.data(rank()), data, to.num_bytes(rank()));
    transfers_.wait_all(scope);
  }

  void all_to_all_v(TensorView send, std::span<const int64_t> send_rows, TensorView receive,
                    std::span<const int64_t> receive_rows, Stream&) override {
    check_size(send_rows);
    check_size(receive_rows);
    const RowParts from(send, send_rows), to(receive, receive_rows);
    OCTET_CHECK(from.num_bytes(rank()) == to.num_bytes(rank()));
    auto scope = begin(CollectiveKind::kAllToAllV, to);
    receive_parts(to);
    for (int i = 1; i < size(); ++i) {
      const int peer = (rank() + i) % size();
      if (from.num_bytes(peer) > 0) transfers_.send(peer, from.data(peer), from.num_bytes(peer));
    }
    copy_part(to.data(rank()), from.data(rank()), to.num_bytes(rank()));
    transfers_.wait_all(scope);
  }

 private:
  void check_size(std::span<const int64_t> rows) const {
    OCTET_CHECK(rows.size() == static_cast<size_t>(size()), "{} counts for {} ranks", rows.size(), size());
  }

  CollectiveScope begin(CollectiveKind kind, const RowParts& to) {
    return {progress_, group_, kind, to.num_bytes_of_others(rank()), to.num_others(rank())};
  }

  void receive_parts(const RowParts& to) {
    for (int i = 1; i < size(); ++i) {
      const int peer = (rank() - i + size()) % size();
      if (to.num_bytes(peer) > 0) transfers_.receive(peer, to.data(peer), to.num_bytes(peer));
    }
  }

  OwnedComm comm_;
  MpiTransfers transfers_;
  CommProgress& progress_;
  CommProgress::Group& group_;
};

MPI_Comm ranks_of_this_host() {
  MPI_Comm comm = MPI_COMM_NULL;
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &comm);
  return comm;
}

// Whether the host's ranks may run on at least as many cores as they are, taken together, for as long as they like.
bool has_core_for_each(const OwnedComm& host_ranks) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (sched_getaffinity(0, sizeof(cores), &cores) != 0) return false;
  MPI_Allreduce(MPI_IN_PLACE, &cores, sizeof(cores), MPI_BYTE, MPI_BOR, host_ranks.get());
  const double quota = cpu_quota(KernelFiles()).value_or(host_ranks.size());
  return CPU_COUNT(&cores) >= host_ranks.size() && quota >= host_ranks.size();
}

std::vector<int> all_ranks() {
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  std::vector<int> ranks(static_cast<size_t>(size));
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

class MpiWorld final : public CommWorld {
 public:
  MpiWorld()
      : host_name_(local_host_name()),
        host_ranks_(std::make_unique<OwnedComm>(ranks_of_this_host())),
        core_to_itself_(has_core_for_each(*host_ranks_)),
        host_(std::make_unique<MpiHostComm>(duplicate(MPI_COMM_WORLD), core_to_itself_, progress_,
                                            progress_.add_group(all_ranks()))) {}

  ~MpiWorld() override {
    host_.reset();
    host_ranks_.reset();
    MPI_Finalize();
  }

  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }
  int local_rank() const override { return host_ranks_->rank(); }
  int local_size() const override { return host_ranks_->size(); }
  const std::string& host_name() const override { return host_name_; }
  HostComm& host() override { return *host_; }
  CommProgress& progress() override { return progress_; }

  std::unique_ptr<DeviceComm> make_group(std::span<const int> ranks) override {
    OCTET_CHECK(std::ranges::find(ranks, rank()) != ranks.end(), "rank {} makes a group that it is not in", rank());
    if (ranks.size() == 1) return std::make_unique<LocalComm>();
    MPI_Group everyone = MPI_GROUP_NULL, members = MPI_GROUP_NULL;
    MPI_Comm comm = MPI_COMM_NULL;
    MPI_Comm_group(MPI_COMM_WORLD, &everyone);
    MPI_Group_incl(everyone, static_cast<int>(ranks.size()), ranks.data(), &members);
    MPI_Comm_create_group(MPI_COMM_WORLD, members, 0, &comm);
    MPI_Group_free(&members);
    MPI_Group_free(&everyone);
    return std::make_unique<MpiGroup>(comm, core_to_itself_, progress_, progress_.add_group(ranks));
  }

 private:
  std::string host_name_;
  CommProgress progress_;
  std::unique_ptr<OwnedComm> host_ranks_;
  bool core_to_itself_;
  std::unique_ptr<MpiHostComm> host_;
};

}  // namespace

Result<std::unique_ptr<CommWorld>> make_mpi_world() {
  // Waiting is Waiter's business: Open MPI would yield within every look at a request where ranks share cores.
  setenv("OMPI_MCA_mpi_yield_when_idle", "0", /*overwrite=*/0);
  // The engine's thread need not be the one that starts MPI, so FUNNELED is not enough.
  int provided = MPI_THREAD_SINGLE;
  MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided);
  if (provided < MPI_THREAD_SERIALIZED) return failed("this MPI cannot be used from more than one thread");
  return std::unique_ptr<CommWorld>(std::make_unique<MpiWorld>());
}

}  // namespace octet
