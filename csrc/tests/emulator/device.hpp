// SPDX-License-Identifier: Apache-2.0
// The host's half of kernels/cuda/device.hpp: the same names, run by the emulator.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "emulator.hpp"

#define JAHP_DEVICE inline
#define JAHP_UNROLL
#define JAHP_UNROLL_2
#define JAHP_UNROLL_4

namespace jahp::cuda {

using emulator::Where;

inline int thread_index() { return emulator::thread_index(); }
inline int thread_count() { return emulator::thread_count(); }
inline int block_index() { return emulator::block_index(); }
inline int popcount(std::uint32_t v) { return __builtin_popcount(v); }
inline std::uint32_t shift_right(std::uint32_t v, std::uint32_t by) { return v >> (by & 31); }
inline bool unlikely(bool v) { return v; }
inline int first_bit(std::uint32_t v) { return __builtin_ctz(v); }

template <typename T>
T opaque(T v) {
    return v;
}

template <typename T>
T load(const T* p, Where where = Where::current()) {
    emulator::check_read(p, sizeof(T), where);
    return *p;
}

template <typename T>
void store(T* p, std::type_identity_t<T> v, Where where = Where::current()) {
    emulator::check_write(p, sizeof(T), where);
    *p = v;
}

inline void sync_warp(Where where = Where::current()) { emulator::sync_warp(where); }
inline void sync_block(Where where = Where::current()) { emulator::sync_block(where); }

inline std::uint32_t ballot(std::uint32_t mask, bool value, Where where = Where::current()) {
    const std::uint64_t* all = emulator::exchange(mask, value, "ballot", where);
    std::uint32_t out = 0;
    for (int lane = 0; lane < emulator::kWarp; ++lane) out |= static_cast<std::uint32_t>(all[lane]) << lane;
    return out;
}

inline std::int32_t shuffle(std::uint32_t mask, std::int32_t value, int from, Where where = Where::current()) {
    return static_cast<std::int32_t>(
        emulator::exchange(mask, static_cast<std::uint32_t>(value), "shuffle", where)[from & 31]);
}

inline void mma_s8(std::int32_t (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                   Where where = Where::current()) {
    emulator::mma_s8(c, a, b, where);
}

// A cluster, and a part of a cooperative grid.
template <bool distributed>
struct EmulatedGroup {
    static constexpr bool kDistributed = distributed;
    void sync(Where where = Where::current()) { emulator::sync_group(where); }
    void store_all(std::uint32_t* p, int rank, int blocks, std::uint32_t v, Where where = Where::current()) {
        if (!distributed) return store(p, v, where);
        for (int i = 0; i < blocks; ++i)
            store(static_cast<std::uint32_t*>(emulator::there(p, (rank + i) & (blocks - 1), where)), v, where);
    }
};

}  // namespace jahp::cuda
