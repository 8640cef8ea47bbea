// SPDX-License-Identifier: Apache-2.0
// A few threads that share the items of a short job, many jobs in a row: several jobs a wavefront step.
//
// Each thread has a queue, a contiguous share of a job's items: item i of every job with as many items goes to the same
// thread, whose cache holds its weights. Items are claimed, from one's own queue first and then from the others', so
// that a helper that the system runs late, or not at all, finds nothing left and holds nobody up: on a busy machine a
// team is hardly slower than its caller alone. Helpers spin briefly for the next job and then park in the kernel
// (park.hpp). A team belongs to one decode or encode; only its owner calls begin(), finish() and run().
// Nothing is allocated by them.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace jahp {

class ThreadTeam {
public:
    // threads >= 1, the caller included. Fewer are used if the system refuses to start more.
    explicit ThreadTeam(int threads);
    ~ThreadTeam();
    ThreadTeam(const ThreadTeam&) = delete;
    ThreadTeam& operator=(const ThreadTeam&) = delete;

    int size() const { return static_cast<int>(helpers_.size()) + 1; }

    // job(item, thread) once for each item = 0 .. items - 1, on any thread = 0 .. size() - 1 (0 is the caller, and no
    // thread runs two at a time). `job` must live until finish() has returned.
    using Job = std::function<void(int item, int thread)>;

    // Offers the items to the helpers and returns at once.
    void begin(int items, const Job& job);

    // Works on what is left of the job begun, if any, and returns when all of it is done. What an item throws is thrown
    // here; if several throw, that of the lowest thread.
    void finish();

    void run(int items, const Job& job) {
        begin(items, job);
        finish();
    }

private:
    struct alignas(64) Queue {
        std::atomic<std::uint64_t> claims{0};  // end of the share << 32 | next unclaimed item
    };
    void help(int thread);
    void work(int thread);
    void drain(Queue& queue, int thread);

    std::unique_ptr<Queue[]> queues_;  // one a thread that was asked for
    std::vector<std::thread> helpers_;
    std::vector<std::exception_ptr> failures_;
    const Job* job_ = nullptr;
    alignas(64) std::atomic<std::uint32_t> left_{0};  // items not finished
    alignas(64) std::atomic<std::uint32_t> round_{0};  // grows by one a job; helpers wait on it
    std::atomic<std::uint32_t> queue_count_{1};
    std::atomic<bool> stop_{false};
};

}  // namespace jahp
