// SPDX-License-Identifier: Apache-2.0
// A grid of blocks of threads on one CPU thread, for kernels written against device.hpp (this folder's and
// kernels/cuda's).
//
// Each thread is a fiber. Between meetings (barriers, shuffles, ballots, mma) the fibers run in random order out of a
// seed. What a thread stores is there at once; that nobody may rely on it is the work of a race detector: every byte of
// watched memory remembers who wrote and read it last, and an access fails that is not separated from a conflicting one
// of another thread by a barrier which both have passed. Failures, meetings that not all threads reach among them, end
// the run with a message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <source_location>
#include <string>
#include <vector>

namespace jahp::emulator {

constexpr int kWarp = 32;

struct Shape {
    int blocks, threads;  // threads a block: a multiple of 32
    int group;  // blocks that meet at group barriers; divides blocks
    std::size_t shared;  // bytes a block
};

// What a run has done: barriers of the group that had most, mma instructions of all warps, words stored in blocks by
// there().
struct Counts {
    std::int64_t group_barriers = 0, products = 0, remote_words = 0;
};

class Grid {
public:
    Grid(const Shape& shape, std::uint64_t seed, std::size_t memory);
    ~Grid();
    Grid(const Grid&) = delete;
    Grid& operator=(const Grid&) = delete;

    // Watched global memory, filled with noise, fenced on both sides; throws std::bad_alloc when `memory` is used up.
    void* take(std::size_t bytes);

    // Runs the kernel once for every thread. Returns what went wrong, or nothing.
    std::string run(const std::function<void()>& kernel);

    Counts counts() const;  // of the last run

    struct Impl;

private:
    std::unique_ptr<Impl> impl_;
};

using Where = std::source_location;

// What a kernel asks of the thread that runs it. To be called inside of run() only.
int thread_index();
int thread_count();
int block_index();
std::uint8_t* shared_memory();
// The place in the shared memory of block `rank` of the group that p is in this block's. Fails before the group's first
// barrier, as that block need not have started, and when a thread of it has ended.
void* there(void* p, int rank, Where where);
void check_read(const void* p, std::size_t bytes, Where where);
void check_write(const void* p, std::size_t bytes, Where where);
void sync_warp(Where where);
void sync_block(Where where);
void sync_group(Where where);
// Every lane of `mask` gives `in` and gets all 32 inputs, those of others as 0.
const std::uint64_t* exchange(std::uint32_t mask, std::uint64_t in, const char* what, Where where);
// mma.m16n8k32 of signed bytes, with the fragments of the PTX ISA ("Matrix fragments for mma.m16n8k32").
void mma_s8(std::int32_t (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], Where where);

}  // namespace jahp::emulator
