// Communicators: their life, the groups of operations enqueued on them, and their failures.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/softgpu/nccl/nccl_operations.h"

// What an ncclComm_t points to. Thread-safe.
struct ncclComm : std::enable_shared_from_this<ncclComm> {
  ncclComm(std::string its_name, int num_ranks, int its_rank, int its_device)
      : name(std::move(its_name)), ranks(num_ranks), rank(its_rank), device(its_device) {}
  ~ncclComm();

  const std::string name;
  const int ranks, rank, device;
  unsigned splits = 0;  // so far; every rank counts the same

  // Meets the other ranks; returns when all are there or it failed.
  ncclResult_t connect();
  // The same on a thread of its own; error() is ncclInProgress until then.
  void connect_later();

  ncclResult_t error();
  // The choice that each rank made in a call of ncclCommSplit.
  struct Choice {
    int color, key, rank;
  };
  std::vector<Choice> exchange_choices(int color, int key);
  // Executes a group: collectives in order, then all point-to-point messages. Throws DeviceFault.
  void execute(const std::vector<octet::softgpu::Operation>& operations);

  // Waits until no operation runs.
  void drain();
  // Ends the operation that runs, also on the peers, and makes later ones do nothing.
  void abort();
  void leave();

 private:
  void run(const std::vector<octet::softgpu::Operation>& operations);
  void fail(ncclResult_t error, const std::string& why);
  // A failed NCCL kernel spins: what is enqueued behind it does not run until ncclCommAbort.
  void hold();

  std::unique_ptr<octet::softgpu::Transport> transport_;
  std::thread connecting_;
  std::atomic<bool> aborting_ = false;
  std::mutex executing_;  // one group at a time
  octet::softgpu::u64 sequence_ = 0;
  std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  unsigned running_ = 0;
  ncclResult_t error_ = ncclSuccess;
};

namespace octet::softgpu {

// Says why on stderr, keeps it for ncclGetLastError of this thread, and returns the code.
ncclResult_t refuse(ncclResult_t code, const std::string& why);
const std::string& last_refusal();

// The communicator of a handle that has not been destroyed or aborted; null otherwise.
std::shared_ptr<ncclComm> find_comm(ncclComm_t handle);
ncclComm_t publish(std::shared_ptr<ncclComm> comm);
void withdraw(ncclComm_t handle);

// Enqueues one group of operations on one communicator.
ncclResult_t submit(const std::shared_ptr<ncclComm>& comm, cudaStream_t stream, std::vector<Operation> operations);

}  // namespace octet::softgpu
