// SPDX-License-Identifier: Apache-2.0
#include "core/thread_team.hpp"

#include <chrono>
#include <stdexcept>

#include "tests/check.hpp"

namespace jahp::test {

TEST(every_thread_runs_every_job_once) {
    for (int threads = 1; threads <= 8; ++threads) {
        ThreadTeam team(threads);
        CHECK_EQ(team.size(), threads);
        const auto size = static_cast<std::size_t>(team.size());
        std::vector<int> runs(size, 0);  // not atomic on purpose: run() must order the jobs of one thread and the caller's reads
        for (int job = 1; job <= 400; ++job) {
            team.run([&](int thread) { ++runs[static_cast<std::size_t>(thread)]; });
            for (const int n : runs) CHECK_EQ(n, job);
        }
    }
}

TEST(a_job_sees_what_the_caller_and_the_job_before_wrote) {
    ThreadTeam team(4);
    std::vector<int> values(4, 1);
    for (int job = 0; job < 500; ++job) {
        int sum = 0;
        for (const int v : values) sum += v;
        std::vector<int> next(4);
        team.run([&](int thread) {
            const auto t = static_cast<std::size_t>(thread);
            next[t] = (sum + values[(t + 1) % 4]) % 1009;
        });
        std::vector<int> want(4);
        for (std::size_t t = 0; t < 4; ++t) want[t] = (sum + values[(t + 1) % 4]) % 1009;
        CHECK(next == want);
        values = next;
    }
}

TEST(helpers_that_parked_wake_again) {
    ThreadTeam team(3);
    for (int job = 0; job < 5; ++job) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        std::atomic<int> ran{0};
        team.run([&](int thread) {
            if (thread == 1) std::this_thread::sleep_for(std::chrono::milliseconds(10));  // the caller parks too
            ++ran;
        });
        CHECK_EQ(ran.load(), 3);
    }
}

TEST(exceptions_reach_the_caller_after_all_are_done) {
    for (int threads = 1; threads <= 8; ++threads) {
        ThreadTeam team(threads);
        for (int thrower = 0; thrower < team.size(); ++thrower) {
            std::atomic<int> finished{0};
            std::string caught;
            try {
                team.run([&](int thread) {
                    if (thread == thrower) throw std::runtime_error("from " + std::to_string(thread));
                    ++finished;
                });
            } catch (const std::runtime_error& e) {
                caught = e.what();
            }
            CHECK_EQ(caught, "from " + std::to_string(thrower));
            CHECK_EQ(finished.load(), team.size() - 1);
        }
        std::atomic<int> after{0};
        team.run([&](int) { ++after; });  // the team works on, and the old exception is gone
        CHECK_EQ(after.load(), team.size());
    }
}

TEST(the_first_of_many_exceptions_is_thrown_once) {
    ThreadTeam team(5);
    std::string caught;
    try {
        team.run([](int thread) { throw std::runtime_error(std::to_string(thread)); });
    } catch (const std::runtime_error& e) {
        caught = e.what();
    }
    CHECK_EQ(caught, "0");
    team.run([](int) {});
}

TEST(teams_come_and_go) {
    for (int i = 0; i < 60; ++i) {
        ThreadTeam team(1 + i % 8);
        if (i % 3 != 0) team.run([](int) {});  // and some never work
    }
}

}  // namespace jahp::test
