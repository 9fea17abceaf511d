// Threads that share the tasks of one job (a call of the plan) at a time.
//
// The caller takes part, so a pool of one thread has no worker, and a run never waits for a worker
// that has not woken up: workers join a job while it is open and the caller waits only for those
// that joined. Chunks are handed out by an atomic counter, so uneven cores finish together.
//
// Any number of runs may use a pool at the same time. Each brings its caller, so only so many
// workers join in as make up the pool's number of threads together with all callers; a job that
// finds the workers taken, or none to spare, is done by its caller alone. Between the jobs of a
// single run, workers spin for some microseconds before they park. With several runs, or none,
// nobody spins.
#ifndef SANDERLING_OS_POOL_H_
#define SANDERLING_OS_POOL_H_

#include <pthread.h>

#include "core/executor.h"
#include "core/memory.h"

namespace sanderling {

class Pool : public Shared {
 public:
  static constexpr int32_t kMaxThreads = 256;

  static Result<Ref<Pool>> create(int32_t threads);  // counting the caller

  // The process's own pool of so many threads, the same for everybody as long as anybody has it.
  static Result<Ref<Pool>> shared(int32_t threads);

  Pool() = default;
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool();

  uint32_t threads() const { return started_ + 1; }

  // Around the jobs of one run.
  void begin() { runs_.fetch_add(1, std::memory_order_seq_cst); }
  void end() { runs_.fetch_sub(1, std::memory_order_seq_cst); }

  // One job: between begin() and end() only.
  void run(uint32_t tasks, uint32_t grain, Parallel::Body body, void* context);

 private:
  struct Worker {
    Pool* pool;
    uint32_t number;  // 1 and up; the caller is 0
    pthread_t thread;
  };

  // The gate is one word: epoch (16 bits) · open (1 bit) · stop (1 bit) · workers inside (14 bits).
  // Workers enter by compare-and-swap while it is open. They read the job only when inside, and the
  // caller changes it only when it is closed and empty. Epochs come round again, so a worker may
  // sleep through a job; `stop` never was set before, so nobody sleeps through that.
  static constexpr uint32_t kOpen = 1U << 15;
  static constexpr uint32_t kStop = 1U << 14;
  static constexpr uint32_t kInside = kStop - 1;
  static constexpr uint32_t kEpoch = 1U << 16;

  static void* main(void* worker);
  uint32_t spare_workers() const;
  bool is_only_run() const { return runs_.load(std::memory_order_relaxed) == 1; }
  void serve(uint32_t number);
  bool is_open(uint32_t gate, uint32_t seen) const;
  uint32_t wait_for_job(uint32_t seen);
  void take_chunks(uint32_t thread);
  void leave();
  void close_and_wait();

  // Written by the caller that has the workers, between jobs, read by workers inside the gate.
  Parallel::Body body_ = nullptr;
  void* context_ = nullptr;
  uint32_t tasks_ = 0, chunk_ = 1;

  // Each on its own cache line: written by everybody.
  alignas(64) std::atomic<uint64_t> next_{0};  // the first task that nobody has taken
  alignas(64) std::atomic<uint32_t> gate_{0};
  std::atomic<uint32_t> parked_{0};   // workers that may be asleep on gate_
  std::atomic<uint32_t> waiting_{0};  // 1: the caller may be asleep on it until the gate is empty
  std::atomic<uint32_t> runs_{0};     // between begin() and end()
  std::atomic<uint32_t> most_{0};     // workers that may join the job
  std::atomic<bool> taken_{false};    // a job has the workers
  Array<Worker> workers_;
  uint32_t started_ = 0;  // the first so many workers have a thread
  bool is_shared_ = false;
  pid_t process_ = 0;  // a forked child has this memory, but not the threads
};

}  // namespace sanderling

#endif  // SANDERLING_OS_POOL_H_
