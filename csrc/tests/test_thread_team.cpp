// SPDX-License-Identifier: Apache-2.0
#include "core/thread_team.hpp"

#include <chrono>
#include <stdexcept>

#include "tests/check.hpp"

namespace jahp::test {

TEST(every_item_runs_once) {
    for (int threads = 1; threads <= 8; ++threads) {
        ThreadTeam team(threads);
        CHECK_EQ(team.size(), threads);
        for (const int items : {0, 1, 2, 7, 64})
            for (int job = 1; job <= 100; ++job) {
                std::vector<int> runs(static_cast<std::size_t>(items),
                                      0);  // not atomic on purpose: run() must order them
                std::vector<int> by(static_cast<std::size_t>(threads), 0);
                team.run(items, [&](int item, int thread) {
                    ++runs[static_cast<std::size_t>(item)];
                    ++by[static_cast<std::size_t>(thread)];
                });
                for (const int n : runs) CHECK_EQ(n, 1);
                int sum = 0;
                for (const int n : by) sum += n;
                CHECK_EQ(sum, items);
            }
    }
}

TEST(all_threads_take_part_in_long_items) {
    ThreadTeam team(4);
    std::atomic<int> present{0};
    team.run(4, [&](int, int) {  // no item ends before all have begun, so that four threads must have come
        ++present;
        while (present.load() < 4) std::this_thread::yield();
    });
    CHECK_EQ(present.load(), 4);
}

TEST(a_job_sees_what_the_caller_and_the_job_before_wrote) {
    ThreadTeam team(4);
    std::vector<int> values(4, 1);
    for (int job = 0; job < 500; ++job) {
        int sum = 0;
        for (const int v : values) sum += v;
        std::vector<int> next(4);
        team.run(4, [&](int item, int) {
            const auto i = static_cast<std::size_t>(item);
            next[i] = (sum + values[(i + 1) % 4]) % 1009;
        });
        std::vector<int> want(4);
        for (std::size_t i = 0; i < 4; ++i) want[i] = (sum + values[(i + 1) % 4]) % 1009;
        CHECK(next == want);
        values = next;
    }
}

TEST(helpers_that_parked_wake_again) {
    ThreadTeam team(3);
    for (int job = 0; job < 5; ++job) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        std::atomic<int> ran{0};
        team.run(3, [&](int, int thread) {
            if (thread != 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));  // the caller parks too
            ++ran;
        });
        CHECK_EQ(ran.load(), 3);
    }
}

TEST(exceptions_reach_the_caller_after_all_are_done) {
    for (int threads = 1; threads <= 8; ++threads) {
        ThreadTeam team(threads);
        for (int thrower = 0; thrower < 9; ++thrower) {
            std::atomic<int> finished{0};
            std::string caught;
            try {
                team.run(9, [&](int item, int) {
                    if (item == thrower) throw std::runtime_error("from " + std::to_string(item));
                    ++finished;
                });
            } catch (const std::runtime_error& e) {
                caught = message_of(e);
            }
            CHECK_EQ(caught, "from " + std::to_string(thrower));
            CHECK_EQ(finished.load(), 8);
        }
        std::atomic<int> after{0};
        team.run(9, [&](int, int) { ++after; });  // the team works on, and the old exception is gone
        CHECK_EQ(after.load(), 9);
    }
}

TEST(of_many_exceptions_one_is_thrown) {
    ThreadTeam team(5);
    int caught = 0;
    try {
        team.run(20, [](int, int) { throw std::runtime_error("all"); });
    } catch (const std::runtime_error&) {
        ++caught;
    }
    CHECK_EQ(caught, 1);
    team.run(20, [](int, int) {});
}

TEST(teams_come_and_go) {
    for (int i = 0; i < 60; ++i) {
        ThreadTeam team(1 + i % 8);
        if (i % 3 != 0) team.run(5, [](int, int) {});  // and some never work
    }
}

}  // namespace jahp::test
