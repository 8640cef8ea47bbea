// SPDX-License-Identifier: Apache-2.0
// The emulator finds the faults that it is there to find, and computes mma as PTX has it.
#include "emulator/emulator.hpp"

#include <array>
#include <numeric>

#include "emulator/device.hpp"
#include "tests/check.hpp"

namespace jahp::test {
namespace {

using namespace jahp::cuda;
using emulator::Grid;

constexpr std::uint32_t kAll = 0xffffffffu;

// Runs with 20 seeds; all must end alike. `expected`: part of the message, empty for a sound kernel.
template <typename Kernel>
void expect(const emulator::Shape& shape, const std::string& expected, const Kernel& kernel) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        Grid grid(shape, seed, 4096);
        auto* memory = static_cast<std::int32_t*>(grid.take(1024 * sizeof(std::int32_t) / 2));
        const std::string failure = grid.run([&] { kernel(memory); });
        CHECK(expected.empty() ? failure.empty() : failure.find(expected) != std::string::npos);
        if (expected.empty() && !failure.empty()) std::cout << "  " << failure << '\n';
    }
}

}  // namespace

TEST(neighbours_need_a_barrier) {
    const auto kernel = [](std::int32_t* memory, auto sync) {
        const int i = thread_index();
        store(memory + i, i);
        sync();
        const int next = (i + 1) % thread_count(), seen = load(memory + next);
        sync_block();
        CHECK_EQ(seen, next);
    };
    expect({1, 64, 1, 64}, "", [&](std::int32_t* m) { kernel(m, [] { sync_block(); }); });
    expect({1, 32, 1, 64}, "", [&](std::int32_t* m) { kernel(m, [] { sync_warp(); }); });
    expect({1, 64, 1, 64}, "test_emulator.cpp", [&](std::int32_t* m) { kernel(m, [] { sync_warp(); }); });
    expect({1, 32, 1, 64}, "since the last barrier", [&](std::int32_t* m) {
        store(m + thread_index(), 1);
        load(m + (thread_index() + 1) % 32);
    });
}

TEST(blocks_need_the_barrier_of_their_group) {
    const auto kernel = [](std::int32_t* memory, auto sync) {
        if (thread_index() == 0) store(memory + block_index(), block_index());
        sync();
        const int other = block_index() ^ 1, seen = thread_index() == 1 ? load(memory + other) : other;
        EmulatedGroup<true>{}.sync();
        CHECK_EQ(seen, other);
    };
    const auto group = [] { EmulatedGroup<true>{}.sync(); };
    expect({4, 32, 2, 64}, "", [&](std::int32_t* m) { kernel(m, group); });
    expect({4, 32, 2, 64}, "since the last barrier", [&](std::int32_t* m) { kernel(m, [] { sync_block(); }); });
    expect({4, 32, 1, 64}, "since the last barrier", [](std::int32_t* m) {  // the neighbour is of another group
        store(m + 32 * block_index() + thread_index(), 1);
        EmulatedGroup<true>{}.sync();
        load(m + 32 * (block_index() ^ 1) + thread_index());
        EmulatedGroup<true>{}.sync();
        store(m + 32 * block_index() + thread_index(), 2);
    });
}

TEST(memory_of_other_blocks) {
    const auto own = [] { return reinterpret_cast<std::uint32_t*>(emulator::shared_memory()); };
    // Each block tells all others its number; each then reads what it was told.
    const auto kernel = [&](auto group, auto between) {
        const int rank = block_index() % 4;
        if (thread_index() < 4) store(own() + thread_index(), 99);
        group.sync();
        if (thread_index() == 0) group.store_all(own() + rank, rank, 4, static_cast<std::uint32_t>(10 + rank));
        between();
        for (int i = 0; i < 4; ++i) {
            const std::uint32_t told = load(own() + i);
            CHECK_EQ(told, static_cast<std::uint32_t>(10 + i));
        }
        group.sync();
    };
    EmulatedGroup<true> cluster;
    expect({8, 32, 4, 64}, "", [&](std::int32_t*) { kernel(cluster, [&] { cluster.sync(); }); });
    const auto fails = [](const std::string& expected, const auto& body) {
        for (std::uint64_t seed = 1; seed <= 20; ++seed) {
            Grid grid({8, 32, 4, 64}, seed, 4096);
            CHECK(grid.run(body).find(expected) != std::string::npos);
        }
    };
    fails("since the last barrier", [&] {  // the barrier of the block alone
        if (thread_index() < 4) store(own() + thread_index(), 99);
        cluster.sync();
        if (thread_index() == 0) cluster.store_all(own() + block_index() % 4, block_index() % 4, 4, 1);
        sync_block();
        for (int i = 0; i < 4; ++i) load(own() + i);
        cluster.sync();
    });
    fails("since the last barrier", [&] {  // what the others still read
        for (int i = 0; i < 4; ++i) load(own() + i);
        cluster.sync();
        for (int i = 0; i < 4; ++i) load(own() + i);
        if (thread_index() == 0) cluster.store_all(own(), 0, 4, 1);
        cluster.sync();
    });
    fails("before it is known to have started", [&] {
        if (block_index() % 4 == 0 && thread_index() == 0) cluster.store_all(own(), 0, 4, 1);
        cluster.sync();
    });
    fails("of a block that has ended", [&] {
        cluster.sync();
        if (block_index() % 4 != 0) return;
        for (int i = 0; i < 500; ++i) sync_warp();
        if (thread_index() == 0) cluster.store_all(own(), 0, 4, 1);
    });
    fails("no place in shared memory", [&] {
        cluster.sync();
        if (thread_index() == 0) cluster.store_all(own() + 16, 0, 4, 1);
        cluster.sync();
    });
    // A grid's blocks have global memory alone.
    expect({4, 32, 4, 64}, "", [](std::int32_t* m) {
        EmulatedGroup<false> grid;
        auto* words = reinterpret_cast<std::uint32_t*>(m);
        if (thread_index() == 0) grid.store_all(words + block_index(), block_index(), 4, 7);
        grid.sync();
        CHECK_EQ(load(words + (block_index() ^ 3)), 7u);
    });
}

TEST(writes_wait_for_readers_and_writers) {
    expect({1, 64, 1, 64}, "write", [](std::int32_t* m) { store(m, 1); });
    expect({1, 64, 1, 64}, "since the last barrier", [](std::int32_t* m) {
        load(m);
        if (thread_index() == 40) store(m, 1);
    });
    expect({1, 64, 1, 64}, "", [](std::int32_t* m) {
        load(m);
        sync_block();
        if (thread_index() == 40) store(m, 1);
    });
    expect({1, 32, 1, 64}, "", [](std::int32_t* m) {
        store(reinterpret_cast<std::uint8_t*>(m) + thread_index(), 1);
    });  // bytes of one word
    expect({1, 32, 1, 64}, "beyond an array", [](std::int32_t* m) { load(m + 512); });
    expect({1, 32, 1, 64}, "outside of watched memory", [](std::int32_t*) {
        const std::int32_t local = 0;
        load(&local);
    });
    expect({2, 32, 1, 64}, "", [](std::int32_t*) {
        if (thread_index() == 0) store(reinterpret_cast<int*>(emulator::shared_memory()), 1);
    });
}

TEST(divergent_barriers_end_with_a_message) {
    expect({1, 64, 1, 64}, "that only 63 threads reach", [](std::int32_t*) {
        if (thread_index() != 5) sync_block();
    });
    expect({2, 32, 2, 64}, "a group barrier that only 32 threads reach", [](std::int32_t*) {
        if (block_index() == 0) EmulatedGroup<true>{}.sync();
    });
    expect({1, 64, 1, 64}, "while others wait", [](std::int32_t*) {
        if (thread_index() < 32)
            sync_block();
        else
            sync_block();
    });
    expect({1, 32, 1, 64}, "warp", [](std::int32_t*) {
        if (thread_index() == 3) sync_warp();
    });
}

TEST(masks_of_shuffles_and_ballots) {
    expect({1, 32, 1, 64}, "", [](std::int32_t*) {
        const int lane = thread_index();
        CHECK_EQ(shuffle(kAll, 10 * lane, 31 - lane), 10 * (31 - lane));
        CHECK_EQ(ballot(kAll, lane % 3 == 0), 0x49249249u);
        if (lane < 4) CHECK_EQ(ballot(0xfu, lane != 2), 0xbu);
    });
    expect({1, 32, 1, 64}, "only 16 threads", [](std::int32_t*) {
        if (thread_index() < 16) ballot(kAll, true);
    });
    expect({1, 32, 1, 64}, "leaves out", [](std::int32_t*) { shuffle(0xffffu, 1, 0); });
    expect({1, 32, 1, 64}, "mask that differs", [](std::int32_t*) {
        const int lane = thread_index();
        shuffle(lane == 7 ? kAll : 0x7fffffffu | 1u << lane, 1, 0);
    });
    expect({1, 32, 1, 64}, "while others wait in", [](std::int32_t*) {
        if (thread_index() == 0)
            ballot(kAll, true);
        else
            shuffle(kAll, 1, 0);
    });
}

// The PTX ISA's tables for mma.m16n8k32 with .s8: "row = groupID for a0..a3 and a8..a11, groupID + 8 else; col =
// threadID_in_group * 4 + (i & 3), + 16 from a8 on"; "row of b = threadID_in_group * 4 + (i & 3), + 16 from b4 on; col
// = groupID"; "row of c = groupID for c0, c1, groupID + 8 else; col = threadID_in_group * 2 + (i & 1)".
TEST(mma_has_the_fragments_of_ptx) {
    Random random(1);
    std::array<std::array<std::int8_t, 32>, 16> a;
    std::array<std::array<std::int8_t, 8>, 32> b;
    for (auto& row : a)
        for (auto& v : row) v = static_cast<std::int8_t>(random(-128, 127));
    for (auto& row : b)
        for (auto& v : row) v = static_cast<std::int8_t>(random(-128, 127));
    const auto at = [](const auto& matrix, int row, int column) {
        return static_cast<std::uint8_t>(matrix[static_cast<std::size_t>(row)][static_cast<std::size_t>(column)]);
    };
    expect({1, 32, 1, 64}, "", [&](std::int32_t*) {
        const int group = thread_index() / 4, thread = thread_index() % 4;
        std::uint32_t af[4] = {}, bf[2] = {};
        for (int i = 0; i < 16; ++i) {
            const int row = i < 4 || (i >= 8 && i < 12) ? group : group + 8,
                      column = thread * 4 + (i & 3) + (i >= 8 ? 16 : 0);
            af[i / 4] |= std::uint32_t{at(a, row, column)} << (8 * (i % 4));
        }
        for (int i = 0; i < 8; ++i) {
            const int row = thread * 4 + (i & 3) + (i >= 4 ? 16 : 0);
            bf[i / 4] |= std::uint32_t{at(b, row, group)} << (8 * (i % 4));
        }
        std::int32_t c[4] = {1, -2, 3, INT32_MAX};
        const std::int32_t before[4] = {1, -2, 3, INT32_MAX};
        mma_s8(c, af, bf);
        for (int i = 0; i < 4; ++i) {
            const int row = i < 2 ? group : group + 8, column = thread * 2 + (i & 1);
            auto sum = static_cast<std::uint32_t>(before[i]);
            for (std::size_t k = 0; k < 32; ++k)
                sum += static_cast<std::uint32_t>(a[static_cast<std::size_t>(row)][k] *
                                                  b[k][static_cast<std::size_t>(column)]);
            CHECK_EQ(c[i], static_cast<std::int32_t>(sum));
        }
    });
}

}  // namespace jahp::test
