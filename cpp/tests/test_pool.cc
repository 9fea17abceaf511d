#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
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

}  // namespace

TEST_CASE("every task is done exactly once, for any number of threads, tasks and any grain") {
  for (const int threads : {1, 2, 3, 5, 8}) {
    const Ref<Pool> pool = pool_with(threads);
    CHECK(pool->threads() == uint32_t(threads));
    REQUIRE(pool->begin());
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
  REQUIRE(pool->begin());
  for (int i = 0; i < 100; ++i) pool->run(95, 10, Seen::body, &seen);
  pool->end();
  CHECK_FALSE(seen.small);
}

TEST_CASE("many short jobs, with pauses in which the workers park") {
  const Ref<Pool> pool = pool_with(4);
  uint64_t lost = 0;
  for (int run = 0; run < 60; ++run) {
    REQUIRE(pool->begin());
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
  REQUIRE(pool->begin());
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
  REQUIRE(pool->begin());
  pool->run(2, 1, Meeting::body, &meeting);
  pool->end();
  CHECK(meeting.inside == 2);
}

TEST_CASE("one run has the pool at a time") {
  const Ref<Pool> pool = pool_with(2);
  REQUIRE(pool->begin());
  CHECK_FALSE(pool->begin());
  pool->end();
  CHECK(pool->begin());
  pool->end();
}

TEST_CASE("pools come and go, used or not") {
  for (int i = 0; i < 100; ++i) {
    const Ref<Pool> pool = pool_with(1 + i % 4);
    if (i % 2 == 0) continue;
    Count count(10);
    REQUIRE(pool->begin());
    pool->run(10, 1, Count::body, &count);
    pool->end();
    CHECK(count.exact());
  }
}

TEST_CASE("a number of threads that cannot be meant is refused") {
  for (const int threads : {0, -1, 257, INT32_MAX, INT32_MIN}) {
    Result<Ref<Pool>> pool = Pool::create(threads);
    CHECK(pool.status().code() == SD_INVALID_ARGUMENT);
  }
}

TEST_CASE("a forked child runs without the workers, and lets the pool go") {
  Ref<Pool> pool = pool_with(3);
  REQUIRE(pool->begin());
  pool->end();
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    Count count(100);
    bool good = pool->begin();
    pool->run(100, 1, Count::body, &count);
    pool->end();
    good = good && count.exact();
    pool = Ref<Pool>();
    _exit(good ? 0 : 1);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}
