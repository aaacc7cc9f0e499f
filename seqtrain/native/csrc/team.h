// The threads of one call, each with flush-to-zero on.
//
// Each thread that calls the engine has workers of its own, which wait for its next call. A thread that waits spins for
// a short time, as it takes longer to wake a thread than to compute a small call; then it sleeps, so that others have
// the processor.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>

#if !defined(_WIN32)
#include <pthread.h>
#endif

#include "flush.h"

namespace seqtrain {

constexpr std::chrono::microseconds kSpin(20);  // measured
constexpr int kLooks = 16;                      // at the count, between two looks at the clock
constexpr std::size_t kCacheLine = 64;          // so that what one thread writes does not delay another

inline void pause_processor() {
#if defined(__SSE__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("isb");  // about as long as the pause of x86; `yield` takes no time on most processors
#endif
}

// A count that threads wait for.
class alignas(kCacheLine) Count {
public:
    unsigned value() const { return value_.load(std::memory_order_acquire); }

    void raise() {
        value_.fetch_add(1);
        if (sleepers_.load() == 0) return;  // a thread that is counted later looks at the value before it sleeps
        { const std::lock_guard<std::mutex> lock(mutex_); }
        changed_.notify_all();
    }

    // Returns when the count is not `seen` any more.
    void wait_beyond(unsigned seen) {
        if (value() != seen) return;
        const auto end = std::chrono::steady_clock::now() + kSpin;
        do {
            for (int look = 0; look < kLooks; ++look) {
                pause_processor();
                if (value() != seen) return;
            }
        } while (std::chrono::steady_clock::now() < end);
        std::unique_lock<std::mutex> lock(mutex_);
        ++sleepers_;
        changed_.wait(lock, [&] { return value_.load() != seen; });
        --sleepers_;
    }

private:
    std::atomic<unsigned> value_{0};
    std::atomic<int> sleepers_{0};
    std::mutex mutex_;
    std::condition_variable changed_;
};

// Where the threads of a team wait until all are there.
class alignas(kCacheLine) Barrier {
public:
    void arrive(int team, bool wait) {
        const unsigned seen = rounds_.value();
        if (arrived_.fetch_add(1) + 1 == team) {
            arrived_.store(0);
            rounds_.raise();
        } else if (wait) {
            rounds_.wait_beyond(seen);
        }
    }

private:
    std::atomic<int> arrived_{0};
    Count rounds_;
};

// The team that this thread works in at the moment.
struct Membership {
    Barrier* barrier;
    int team;
};

inline thread_local Membership membership = {nullptr, 1};

// The threads that work for one calling thread.
class Workers : public std::enable_shared_from_this<Workers> {
public:
    using Task = void (*)(const void* task, int n, int team);

    // Calls run(task, n, team) on each thread n of a team; the caller is thread 0.
    void call(int threads, Task run, const void* task) {
        run_ = run;
        task_ = task;
        team_ = start(threads);
        for (int n = 1; n < team_; ++n) calls_[n - 1].raise();
        take_part(0);
    }

    // The threads end soon; each of them keeps this object until then.
    void end() {
        run_ = nullptr;
        for (Count& calls : calls_) calls.raise();
    }

private:
    // Returns how many of `threads` threads there can be.
    int start(int threads) {
        while (static_cast<int>(calls_.size()) + 1 < threads) {
            try {
                calls_.emplace_back();
            } catch (const std::exception&) {  // no memory
                break;
            }
            try {
                std::thread([self = shared_from_this(), &calls = calls_.back(), n = static_cast<int>(calls_.size())] {
                    self->work(calls, n);
                }).detach();
            } catch (const std::exception&) {  // no memory, or the system has no more threads
                calls_.pop_back();
                break;
            }
        }
        return std::min(threads, static_cast<int>(calls_.size()) + 1);
    }

    void work(Count& calls, int n) {
        for (unsigned seen = 0;; ++seen) {
            calls.wait_beyond(seen);
            if (!run_) return;
            take_part(n);
        }
    }

    void take_part(int n) {
        const FlushToZero guard;
        const int team = team_;
        membership = {&barrier_, team};
        run_(task_, n, team);
        membership = {nullptr, 1};
        barrier_.arrive(team, n == 0);  // the others have nothing to wait for
    }

    Task run_ = nullptr;
    const void* task_ = nullptr;
    int team_ = 1;
    std::deque<Count> calls_;  // of each thread but the caller
    Barrier barrier_;
};

// How many forks lie between the first process and this one.
inline std::atomic<unsigned> forks{0};
#if !defined(_WIN32)
inline const int counts_forks = pthread_atfork(nullptr, nullptr, [] { ++forks; });
#endif

// The workers of a thread end with it.
struct OwnWorkers {
    ~OwnWorkers() {
        if (workers && forks_at_start == forks) workers->end();
    }

    std::shared_ptr<Workers> workers;
    unsigned forks_at_start = 0;
};

inline Workers& own_workers() {
    thread_local OwnWorkers own;
    if (!own.workers || own.forks_at_start != forks) {  // after a fork, the threads are those of the other process
        own.workers = std::make_shared<Workers>();
        own.forks_at_start = forks;
    }
    return *own.workers;
}

// Calls task(n, team) on each thread n of a team of at most `threads`. It must not throw, nor start another team.
template <class Task>
void run_team(int threads, Task task) {
    if (threads <= 1) {
        const FlushToZero guard;
        task(0, 1);
        return;
    }
    own_workers().call(
        threads, [](const void* task, int n, int team) { (*static_cast<const Task*>(task))(n, team); }, &task);
}

// Called by every thread of a team: none goes on before all are here.
inline void wait_for_team() {
    if (membership.team > 1) membership.barrier->arrive(membership.team, true);
}

}  // namespace seqtrain
