// SPDX-License-Identifier: Apache-2.0
#include "core/thread_team.hpp"

#include <algorithm>
#include <new>
#include <system_error>

#include "core/park.hpp"

namespace jahp {
namespace {

constexpr int kSpins = 1000;  // tens of microseconds: about the gap between two wavefront steps on a quiet machine

void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

void wait_while(const std::atomic<std::uint32_t>& value, std::uint32_t old) {
    for (int i = 0; i < kSpins; ++i) {
        if (value.load(std::memory_order_acquire) != old) return;
        pause();
    }
    while (value.load(std::memory_order_acquire) == old) park_while(value, old);
}

}  // namespace

ThreadTeam::ThreadTeam(int threads)
    : queues_(std::make_unique<Queue[]>(static_cast<std::size_t>(threads))),
      failures_(static_cast<std::size_t>(threads)) {
    helpers_.reserve(static_cast<std::size_t>(threads) - 1);
    try {
        for (int t = 1; t < threads; ++t) helpers_.emplace_back(&ThreadTeam::help, this, t);
    } catch (const std::system_error&) {
        // The system has no more threads to give: the team is as large as it got.
    } catch (const std::bad_alloc&) {
        // Nor memory for another.
    }
    queue_count_.store(static_cast<std::uint32_t>(size()), std::memory_order_release);
}

ThreadTeam::~ThreadTeam() {
    stop_.store(true, std::memory_order_relaxed);
    round_.fetch_add(1, std::memory_order_release);
    wake_all(round_);
    for (std::thread& helper : helpers_) helper.join();
}

void ThreadTeam::drain(Queue& queue, int thread) {
    std::uint64_t claims = queue.claims.load(std::memory_order_acquire);
    for (;;) {
        const auto item = static_cast<std::uint32_t>(claims);
        if (item >= claims >> 32) return;
        // Success means that `item` was unclaimed at this moment, so its job lives until left_ is counted down below:
        // there is no harm in `claims` being of an older job that looked the same.
        if (!queue.claims.compare_exchange_weak(claims, claims + 1, std::memory_order_acq_rel,
                                                std::memory_order_acquire))
            continue;
        try {
            (*job_)(static_cast<int>(item), thread);
        } catch (...) {  // carried over to the caller, whatever it is
            std::exception_ptr& failure = failures_[static_cast<std::size_t>(thread)];
            if (!failure) failure = std::current_exception();
        }
        if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1 && thread != 0) wake_all(left_);
        claims = queue.claims.load(std::memory_order_acquire);
    }
}

void ThreadTeam::work(int thread) {
    const std::uint32_t count = queue_count_.load(std::memory_order_acquire);
    for (std::uint32_t i = 0; i < count; ++i) drain(queues_[(static_cast<std::uint32_t>(thread) + i) % count], thread);
}

void ThreadTeam::help(int thread) {
    for (std::uint32_t seen = 0;;) {
        wait_while(round_, seen);
        seen = round_.load(std::memory_order_acquire);  // rounds slept through are over
        if (stop_.load(std::memory_order_relaxed)) return;
        work(thread);
    }
}

void ThreadTeam::begin(int items, const Job& job) {
    if (items <= 0) return;
    job_ = &job;
    left_.store(static_cast<std::uint32_t>(items), std::memory_order_relaxed);
    const auto count = static_cast<std::uint64_t>(size()), all = static_cast<std::uint64_t>(items);
    for (std::uint64_t q = 0; q < count; ++q)
        queues_[static_cast<std::size_t>(q)].claims.store(all * (q + 1) / count << 32 | all * q / count,
                                                          std::memory_order_release);
    if (!helpers_.empty()) {
        round_.fetch_add(1, std::memory_order_release);
        wake_all(round_);
    }
}

void ThreadTeam::finish() {
    work(0);
    for (std::uint32_t left; (left = left_.load(std::memory_order_acquire)) != 0;) wait_while(left_, left);
    const auto failed = std::find_if(failures_.begin(), failures_.end(),
                                     [](const std::exception_ptr& f) { return f != nullptr; });
    if (failed == failures_.end()) return;
    const std::exception_ptr first = *failed;
    std::fill(failures_.begin(), failures_.end(), nullptr);
    std::rethrow_exception(first);
}

}  // namespace jahp
