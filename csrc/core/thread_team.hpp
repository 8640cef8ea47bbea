// SPDX-License-Identifier: Apache-2.0
// A few threads that share the items of a short job, many jobs in a row: one job a wavefront step.
//
// Items are claimed, not dealt out: a helper that the system runs late, or not at all, finds nothing left and holds nobody
// up, so that on a busy machine a team is hardly slower than its caller alone. Helpers spin briefly for the next job and then
// park in the kernel (std::atomic::wait). A team belongs to one decode or encode; run() is called by its owner alone.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
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

    // job(item, thread) once for each item = 0 .. items - 1, on any thread = 0 .. size() - 1 (0 is the caller, and no thread
    // runs two at a time); returns when all are done. What an item throws is thrown here, after all are done; if several
    // throw, that of the lowest thread.
    using Job = std::function<void(int item, int thread)>;
    void run(int items, const Job& job);

  private:
    void help(int thread);
    void work(int thread);

    std::vector<std::thread> helpers_;
    std::vector<std::exception_ptr> failures_;
    const Job* job_ = nullptr;
    std::atomic<std::uint64_t> claims_{0};  // items of the job << 32 | items claimed
    std::atomic<std::uint32_t> left_{0};    // items not finished
    std::atomic<std::uint32_t> round_{0};   // grows by one a job; helpers wait on it
    std::atomic<bool> stop_{false};
};

}  // namespace jahp
