#include "os/pool.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>

#include "os/clock.h"
#include "os/float_env.h"

namespace sanderling {
namespace {

constexpr uint64_t kSpinNs =
    30000;  // longer than the gap between two calls, shorter than anybody notices
constexpr uint32_t kChunksPerThread =
    8;  // the slowest thread ends at most an eighth of its share late
constexpr size_t kWorkerStack = 512 * 1024;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  asm volatile("yield");
#endif
}

static_assert(sizeof(std::atomic<uint32_t>) == 4 && std::atomic<uint32_t>::is_always_lock_free);

void futex_wait(std::atomic<uint32_t>* word, uint32_t value) {
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
}

void futex_wake(std::atomic<uint32_t>* word, uint32_t count) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
}

// Spins until `done` or the time is up; false if it was the time.
template <typename Done>
bool spin(Done done) {
  const uint64_t deadline = monotonic_ns() + kSpinNs;
  do {
    for (int i = 0; i < 16; ++i) {
      if (done()) return true;
      relax();
    }
  } while (monotonic_ns() < deadline);
  return false;
}

// Pools that shared() gave away and somebody still has, by their number of threads.
struct Registry {
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  bool survives_fork = false;
  Pool* pools[Pool::kMaxThreads + 1] = {};
};
Registry registry;

// A child has none of the threads, so it begins anew; and whoever forks holds the mutex, so that it
// is free in the child.
bool survive_fork() {
  return pthread_atfork([] { pthread_mutex_lock(&registry.mutex); },
                        [] { pthread_mutex_unlock(&registry.mutex); },
                        [] {
                          for (Pool*& pool : registry.pools) pool = nullptr;
                          pthread_mutex_unlock(&registry.mutex);
                        }) == 0;
}

class Lock {
 public:
  Lock() { pthread_mutex_lock(&registry.mutex); }
  ~Lock() { pthread_mutex_unlock(&registry.mutex); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
};

}  // namespace

Result<Ref<Pool>> Pool::shared(int32_t threads) {
  if (threads < 1 || threads > kMaxThreads) return create(threads);
  const Lock lock;
  if (!registry.survives_fork) registry.survives_fork = survive_fork();
  if (!registry.survives_fork) return out_of_memory(0, "fork handlers");
  Pool*& known = registry.pools[threads];
  if (known != nullptr) {
    Ref<Pool> pool = Ref<Pool>::share_if_alive(known);
    if (pool) return pool;
  }
  Result<Ref<Pool>> pool = create(threads);
  if (pool.ok()) {
    known = pool.value().get();
    known->is_shared_ = true;
  }
  return pool;
}

Result<Ref<Pool>> Pool::create(int32_t threads) {
  if (threads < 1 || threads > kMaxThreads) {
    return Status::error(SD_INVALID_ARGUMENT, "%d threads; 1 to %d are allowed", threads,
                         kMaxThreads);
  }
  Ref<Pool> pool = Ref<Pool>::create();
  if (!pool) return out_of_memory(sizeof(Pool), "thread pool");
  Result<Array<Worker>> workers = Array<Worker>::allocate(uint64_t(threads) - 1, "thread pool");
  if (!workers.ok()) return workers.status();

  // Signals are the host program's business and should arrive on its own threads.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kWorkerStack);
  int failure = 0;
  for (Worker& worker : workers.value()) {
    worker.pool = pool.get();
    worker.number = pool->started_ + 1;
    failure = pthread_create(&worker.thread, &attributes, main, &worker);
    if (failure != 0) break;
    ++pool->started_;
    char name[16];
    snprintf(name, sizeof(name), "sanderling-%u", worker.number);
    pthread_setname_np(worker.thread, name);
  }
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pool->workers_ = std::move(workers.value());
  pool->process_ = getpid();
  if (failure == 0) return pool;
  return Status::error(SD_OUT_OF_MEMORY, "thread %u of %d cannot be started (error %d)",
                       pool->started_ + 2, threads, failure);
}

Pool::~Pool() {
  if (process_ != getpid()) return;
  if (is_shared_) {
    const Lock lock;
    Pool*& known = registry.pools[threads()];
    if (known == this) known = nullptr;
  }
  gate_.fetch_or(kStop);
  futex_wake(&gate_, kMaxThreads);
  for (uint32_t i = 0; i < started_; ++i) pthread_join(workers_[i].thread, nullptr);
}

uint32_t Pool::spare_workers() const {
  const uint32_t runs = runs_.load(std::memory_order_relaxed);
  return threads() > runs ? threads() - runs : 0;
}

void Pool::run(uint32_t tasks, uint32_t grain, Parallel::Body body, void* context) {
  const uint32_t spare = spare_workers();
  if (spare == 0 || taken_.exchange(true, std::memory_order_acquire)) {
    body(context, 0, tasks, 0);
    return;
  }
  most_.store(spare, std::memory_order_relaxed);
  const uint32_t share = tasks / (threads() * kChunksPerThread) + 1;
  body_ = body;
  context_ = context;
  tasks_ = tasks;
  chunk_ = std::max(grain, share);
  next_.store(0, std::memory_order_relaxed);
  const uint32_t gate = gate_.load(std::memory_order_relaxed);
  gate_.store((gate / kEpoch + 1) * kEpoch | kOpen, std::memory_order_seq_cst);
  // A worker counts itself as parked before it looks at the gate for the last time, so one of us
  // sees the other.
  const uint32_t parked = parked_.load(std::memory_order_seq_cst);
  if (parked > 0) futex_wake(&gate_, std::min({parked, spare, (tasks - 1) / chunk_}));
  take_chunks(0);
  close_and_wait();
  taken_.store(false, std::memory_order_release);
}

void Pool::take_chunks(uint32_t thread) {
  for (;;) {
    const uint64_t lo = next_.fetch_add(chunk_, std::memory_order_relaxed);
    if (lo >= tasks_) return;
    body_(context_, uint32_t(lo), uint32_t(std::min<uint64_t>(lo + chunk_, tasks_)), thread);
  }
}

void Pool::close_and_wait() {
  if ((gate_.fetch_and(~kOpen, std::memory_order_acq_rel) & kInside) == 0) return;
  const auto empty = [this] { return (gate_.load(std::memory_order_acquire) & kInside) == 0; };
  spin([&] { return empty() || !is_only_run(); });
  if (empty()) return;
  for (;;) {
    waiting_.store(1, std::memory_order_seq_cst);
    if ((gate_.load(std::memory_order_seq_cst) & kInside) == 0) break;
    futex_wait(&waiting_, 1);
  }
  waiting_.store(0, std::memory_order_relaxed);
}

void* Pool::main(void* argument) {
  const Worker* worker = static_cast<const Worker*>(argument);
  const DefaultFloatEnv float_env;
  worker->pool->serve(worker->number);
  return nullptr;
}

// Whether there is a job behind the gate that is not the one seen last, and room for one more.
bool Pool::is_open(uint32_t gate, uint32_t seen) const {
  return (gate & kOpen) != 0 && gate / kEpoch != seen &&
         (gate & kInside) < most_.load(std::memory_order_relaxed);
}

void Pool::serve(uint32_t number) {
  uint32_t seen = UINT32_MAX;  // no epoch
  for (;;) {
    uint32_t gate = wait_for_job(seen);
    if ((gate & kStop) != 0) return;
    while (is_open(gate, seen)) {
      if (!gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acquire)) continue;
      take_chunks(number);
      seen = gate / kEpoch;
      leave();
      break;
    }
  }
}

uint32_t Pool::wait_for_job(uint32_t seen) {
  uint32_t gate = 0;
  const auto ready = [&] {
    gate = gate_.load(std::memory_order_seq_cst);
    return is_open(gate, seen) || (gate & kStop) != 0;
  };
  for (;;) {
    spin([&] { return ready() || !is_only_run(); });
    if (ready()) return gate;
    parked_.fetch_add(1, std::memory_order_seq_cst);
    if (!ready()) futex_wait(&gate_, gate);
    parked_.fetch_sub(1, std::memory_order_relaxed);
  }
}

void Pool::leave() {
  const uint32_t before = gate_.fetch_sub(1, std::memory_order_seq_cst);
  const bool last = (before & (kOpen | kInside)) == 1;
  if (last && waiting_.load(std::memory_order_seq_cst) == 1) {
    waiting_.store(0, std::memory_order_relaxed);
    futex_wake(&waiting_, 1);
  }
}

}  // namespace sanderling
