#include <dlfcn.h>
#include <doctest/doctest.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdarg>
#include <memory>
#include <thread>

#include "builder.h"
#include "os/pool.h"

using namespace sanderling;

namespace {

// Counts how often each task is done, and on which threads.
struct Count {
  explicit Count(uint32_t tasks) : done(tasks) {}
  std::vector<std::atomic<uint32_t>> done;
  std::atomic<uint32_t> threads{0};

  static void body(void* self, uint32_t lo, uint32_t hi, uint32_t thread) {
    Count* count = static_cast<Count*>(self);
    for (uint32_t t = lo; t < hi; ++t) count->done[t].fetch_add(1, std::memory_order_relaxed);
    count->threads.fetch_or(1U << thread);
  }
  bool exact() const {
    for (const auto& times : done) {
      if (times != 1) return false;
    }
    return true;
  }
};

Ref<Pool> pool_with(int32_t threads) {
  Result<Ref<Pool>> pool = Pool::create(threads);
  REQUIRE_MESSAGE(pool.ok(), std::string(pool.status().message()));
  return pool.value();
}

std::atomic<bool> hold_sleepers{false}, is_held{false};

}  // namespace

// Stands in for libc's, so that a test can stop a thread between its last look and its sleep.
extern "C" long syscall(long number, ...) noexcept {
  static const auto real = reinterpret_cast<long (*)(long, ...)>(dlsym(RTLD_NEXT, "syscall"));
  long values[6];
  va_list list;
  va_start(list, number);
  for (long& value : values) value = va_arg(list, long);
  va_end(list);
  if (number == SYS_futex && int(values[1]) == FUTEX_WAIT_PRIVATE) {
    while (hold_sleepers) {
      is_held = true;
      usleep(100);
    }
  }
  return real(number, values[0], values[1], values[2], values[3], values[4], values[5]);
}

TEST_CASE("every task is done exactly once, for any number of threads, tasks and any grain") {
  for (const int threads : {1, 2, 3, 5, 8}) {
    const Ref<Pool> pool = pool_with(threads);
    CHECK(pool->threads() == uint32_t(threads));
    pool->begin();
    for (const uint32_t tasks : {1U, 2U, 3U, 7U, 64U, 1000U, 4097U}) {
      for (const uint32_t grain : {1U, 2U, 5U, 64U, 5000U}) {
        CAPTURE(threads);
        CAPTURE(tasks);
        CAPTURE(grain);
        Count count(tasks);
        pool->run(tasks, std::min(grain, tasks), Count::body, &count);
        REQUIRE(count.exact());
        REQUIRE(count.threads < 1U << threads);
      }
    }
    pool->end();
  }
}

TEST_CASE("chunks are at least as large as the grain, but the last") {
  struct Seen {
    std::atomic<bool> small{false};
    static void body(void* self, uint32_t lo, uint32_t hi, uint32_t) {
      if (hi - lo < 10 && hi != 95) static_cast<Seen*>(self)->small = true;
    }
  } seen;
  const Ref<Pool> pool = pool_with(3);
  pool->begin();
  for (int i = 0; i < 100; ++i) pool->run(95, 10, Seen::body, &seen);
  pool->end();
  CHECK_FALSE(seen.small);
}

TEST_CASE("many short jobs, with pauses in which the workers park") {
  const Ref<Pool> pool = pool_with(4);
  uint64_t lost = 0;
  for (int run = 0; run < 60; ++run) {
    pool->begin();
    for (int job = 0; job < 300; ++job) {
      Count count(1 + uint32_t(job) % 17);
      pool->run(uint32_t(count.done.size()), 1, Count::body, &count);
      lost += !count.exact();
    }
    pool->end();
    if (run % 3 == 0) std::this_thread::yield();
    if (run % 7 == 0) usleep(200);  // longer than workers spin
  }
  CHECK(lost == 0);
}

TEST_CASE("what the caller wrote before a job is seen in it, and what it wrote is seen after it") {
  struct Chain {
    std::vector<uint64_t> values = std::vector<uint64_t>(64);
    uint64_t expected = 0;
    std::atomic<uint64_t> wrong{0};
    static void body(void* self, uint32_t lo, uint32_t hi, uint32_t) {
      Chain* chain = static_cast<Chain*>(self);
      for (uint32_t t = lo; t < hi; ++t) {
        if (chain->values[t] != chain->expected) ++chain->wrong;
        chain->values[t] = chain->expected + 1;
      }
    }
  } chain;
  const Ref<Pool> pool = pool_with(4);
  pool->begin();
  for (int job = 0; job < 5000; ++job, ++chain.expected) pool->run(64, 1, Chain::body, &chain);
  pool->end();
  CHECK(chain.wrong == 0);
  for (const uint64_t value : chain.values) CHECK(value == 5000);
}

TEST_CASE("workers take part") {
  struct Meeting {  // ends only when two threads are inside at once
    std::atomic<uint32_t> inside{0};
    static void body(void* self, uint32_t, uint32_t, uint32_t) {
      Meeting* meeting = static_cast<Meeting*>(self);
      ++meeting->inside;
      while (meeting->inside < 2) std::this_thread::yield();
    }
  } meeting;
  const Ref<Pool> pool = pool_with(2);
  pool->begin();
  pool->run(2, 1, Meeting::body, &meeting);
  pool->end();
  CHECK(meeting.inside == 2);
}

TEST_CASE("callers count as threads of the pool: together they are no more than it has") {
  struct Running {
    std::atomic<int> now{0}, most{0};
    static void body(void* self, uint32_t lo, uint32_t hi, uint32_t) {
      Running* running = static_cast<Running*>(self);
      const int inside = ++running->now;
      int most = running->most;
      while (inside > most && !running->most.compare_exchange_weak(most, inside)) {
      }
      for (volatile uint32_t i = 0; i < 200 * (hi - lo); i = i + 1) {
      }
      --running->now;
    }
  };
  for (const int callers : {1, 2, 3, 4, 6}) {
    const Ref<Pool> pool = pool_with(4);
    Running running;
    std::vector<std::thread> threads;
    std::atomic<int> begun{0}, done{0};
    for (int i = 0; i < callers; ++i) {
      threads.emplace_back([&] {
        pool->begin();  // before anybody's first job, so that all of them are counted
        for (++begun; begun < callers;) std::this_thread::yield();
        for (int job = 0; job < 200; ++job) pool->run(64, 1, Running::body, &running);
        for (++done; done < callers;) std::this_thread::yield();
        pool->end();
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(running.most <= std::max(4, callers));
  }
}

TEST_CASE("runs at the same time do all of their tasks exactly once") {
  const Ref<Pool> pool = pool_with(3);
  std::vector<std::thread> threads;
  std::atomic<uint64_t> lost{0};
  for (int i = 0; i < 5; ++i) {
    threads.emplace_back([&, i] {
      for (int run = 0; run < 20; ++run) {
        pool->begin();
        for (int job = 0; job < 50; ++job) {
          Count count(1 + uint32_t(job * (i + 1)) % 97);
          pool->run(uint32_t(count.done.size()), 1 + uint32_t(i) % 3, Count::body, &count);
          lost += !count.exact();
        }
        pool->end();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(lost == 0);
}

TEST_CASE("the process's pool of so many threads is one, as long as anybody has it") {
  Result<Ref<Pool>> first = Pool::shared(3), second = Pool::shared(3), other = Pool::shared(2);
  REQUIRE((first.ok() && second.ok() && other.ok()));
  CHECK(first.value().get() == second.value().get());
  CHECK(first.value().get() != other.value().get());
  CHECK(first.value().get() != pool_with(3).get());
  CHECK(other.value()->threads() == 2);
  first = pool_with(1);
  Result<Ref<Pool>> third = Pool::shared(3);
  CHECK(third.value().get() == second.value().get());
  for (const int threads : {0, -1, 257}) {
    CHECK(Pool::shared(threads).status().code() == SD_INVALID_ARGUMENT);
  }
}

TEST_CASE(
    "threads that take and leave the process's pool at the same time always have one that works") {
  std::vector<std::thread> threads;
  std::atomic<uint64_t> lost{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 100; ++round) {
        Result<Ref<Pool>> pool = Pool::shared(3);
        Count count(20);
        pool.value()->begin();
        pool.value()->run(20, 1, Count::body, &count);
        pool.value()->end();
        lost += !count.exact();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(lost == 0);
}

TEST_CASE(
    "a child that was forked while others ran gets a pool of its own, and the old one never "
    "hangs") {
  const Ref<Pool> busy = Pool::shared(3).value();
  std::atomic<bool> stop{false};
  std::thread runner([&] {
    busy->begin();
    while (!stop) {
      Count count(50);
      busy->run(50, 1, Count::body, &count);
    }
    busy->end();
  });
  for (int i = 0; i < 20; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);
      bool good = true;
      for (const bool fresh : {false, true}) {
        const Ref<Pool> pool = fresh ? Pool::shared(3).value() : busy;
        good = good && (pool.get() != busy.get()) == fresh;
        Count count(100);
        pool->begin();
        pool->run(100, 1, Count::body, &count);
        pool->end();
        good = good && count.exact();
      }
      _exit(good ? 0 : 1);
    }
    int status = -1;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(status == 0);
  }
  stop = true;
  runner.join();
}

TEST_CASE("pools come and go, used or not") {
  for (int i = 0; i < 100; ++i) {
    const Ref<Pool> pool = pool_with(1 + i % 4);
    if (i % 2 == 0) continue;
    Count count(10);
    pool->begin();
    pool->run(10, 1, Count::body, &count);
    pool->end();
    CHECK(count.exact());
  }
}

TEST_CASE(
    "a worker that falls asleep after a whole round of epochs still sees that the pool ends") {
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    hold_sleepers = true;
    Ref<Pool> pool = pool_with(2);
    while (!is_held) usleep(100);
    Count count(2);
    pool->begin();
    for (int job = 0; job < 65535; ++job) pool->run(2, 1, Count::body, &count);
    pool->end();
    std::thread release([] {
      usleep(50000);  // the pool has told its workers by then
      hold_sleepers = false;
    });
    pool = Ref<Pool>();
    release.join();
    _exit(0);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

TEST_CASE("a number of threads that cannot be meant is refused") {
  for (const int threads : {0, -1, 257, INT32_MAX, INT32_MIN}) {
    Result<Ref<Pool>> pool = Pool::create(threads);
    CHECK(pool.status().code() == SD_INVALID_ARGUMENT);
  }
}

TEST_CASE("a forked child runs without the workers, and lets the pool go") {
  Ref<Pool> pool = pool_with(3);
  pool->begin();
  pool->end();
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    Count count(100);
    pool->begin();
    pool->run(100, 1, Count::body, &count);
    pool->end();
    const bool good = count.exact();
    pool = Ref<Pool>();
    _exit(good ? 0 : 1);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}
