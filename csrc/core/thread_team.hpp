// SPDX-License-Identifier: Apache-2.0
// A few threads that do the same short job many times: one job a wavefront step.
//
// Helpers spin briefly for the next job and then park in the kernel (std::atomic::wait), so that a busy machine is not
// made busier. A team belongs to one decode or encode; it is not shared, and run() is called by its owner alone.
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

    // job(thread) for thread = 0 .. size() - 1, thread 0 on the caller; returns when all are done.
    // An exception in any of them is thrown here, after all are done.
    void run(const std::function<void(int)>& job);

  private:
    void help(int thread);
    void guarded(int thread);

    std::vector<std::thread> helpers_;
    std::vector<std::exception_ptr> failures_;
    const std::function<void(int)>* job_ = nullptr;
    std::atomic<std::uint32_t> round_{0};    // grows by one a job; helpers wait on it
    std::atomic<std::uint32_t> working_{0};  // helpers that have not finished the job
    bool stop_ = false;
};

}  // namespace jahp
