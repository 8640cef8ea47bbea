// SPDX-License-Identifier: Apache-2.0
#include "core/thread_team.hpp"

#include <system_error>

namespace jahp {
namespace {

constexpr int kSpins = 1000;  // tens of microseconds: longer than the gap between two wavefront steps on a quiet machine

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
    value.wait(old, std::memory_order_acquire);
}

}  // namespace

ThreadTeam::ThreadTeam(int threads) : failures_(static_cast<std::size_t>(threads)) {
    helpers_.reserve(static_cast<std::size_t>(threads) - 1);
    try {
        for (int t = 1; t < threads; ++t) helpers_.emplace_back(&ThreadTeam::help, this, t);
    } catch (const std::system_error&) {
        // The system has no more threads to give: the team is as large as it got.
    }
}

ThreadTeam::~ThreadTeam() {
    stop_ = true;
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
    for (std::thread& helper : helpers_) helper.join();
}

void ThreadTeam::guarded(int thread) {
    try {
        (*job_)(thread);
    } catch (...) {  // carried over to the caller, whatever it is
        failures_[static_cast<std::size_t>(thread)] = std::current_exception();
    }
}

void ThreadTeam::help(int thread) {
    for (std::uint32_t seen = 0;; ++seen) {
        wait_while(round_, seen);
        if (stop_) return;
        guarded(thread);
        if (working_.fetch_sub(1, std::memory_order_acq_rel) == 1) working_.notify_one();
    }
}

void ThreadTeam::run(const std::function<void(int)>& job) {
    if (helpers_.empty()) return job(0);
    job_ = &job;
    working_.store(static_cast<std::uint32_t>(helpers_.size()), std::memory_order_relaxed);
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
    guarded(0);
    for (std::uint32_t left; (left = working_.load(std::memory_order_acquire)) != 0;) wait_while(working_, left);
    for (std::exception_ptr& failure : failures_)
        if (failure) {
            const std::exception_ptr first = failure;
            for (std::exception_ptr& f : failures_) f = nullptr;
            std::rethrow_exception(first);
        }
}

}  // namespace jahp
