// SPDX-License-Identifier: Apache-2.0
// What kernels ask of a device, as thin wrappers. csrc/tests/emulator/device.hpp has the same names for the host;
// kernels differ between the two builds in this header and nowhere else.
//
// Memory that threads share is read and written through load() and store() only. What one thread stores another may
// load after a barrier that both have passed: sync_warp, sync_block, or a group's sync (the blocks of one image). Plain
// reads are for what no kernel writes, and for copies that were made before the first barrier of the group.
#pragma once

#include <cstdint>

#define JAHP_DEVICE __device__ __forceinline__
#define JAHP_UNROLL _Pragma("unroll")
#define JAHP_UNROLL_2 _Pragma("unroll 2")
#define JAHP_UNROLL_4 _Pragma("unroll 4")

namespace jahp::cuda {

JAHP_DEVICE int thread_index() { return static_cast<int>(threadIdx.x); }
JAHP_DEVICE int thread_count() { return static_cast<int>(blockDim.x); }
JAHP_DEVICE int block_index() { return static_cast<int>(blockIdx.x); }
JAHP_DEVICE int popcount(std::uint32_t v) { return __popc(v); }
JAHP_DEVICE std::uint32_t shift_right(std::uint32_t v, std::uint32_t by) {
    return __funnelshift_r(v, 0, by);
}  // modulo 32
JAHP_DEVICE bool unlikely(bool v) { return __builtin_expect(v, 0); }
JAHP_DEVICE int first_bit(std::uint32_t v) { return __ffs(static_cast<int>(v)) - 1; }  // v != 0

// The same value, of which the compiler does not know how it came about: it stays in a register as it is.
template <typename T>
JAHP_DEVICE T* opaque(T* p) {
    asm("" : "+l"(p));
    return p;
}

template <typename T>
struct Same {
    using Type = T;
};

template <typename T>
JAHP_DEVICE T load(const T* p) {
    return *p;
}

template <typename T>
JAHP_DEVICE void store(T* p, typename Same<T>::Type v) {
    *p = v;
}

JAHP_DEVICE void sync_warp() { __syncwarp(); }
JAHP_DEVICE void sync_block() { __syncthreads(); }
JAHP_DEVICE std::uint32_t ballot(std::uint32_t mask, bool value) { return __ballot_sync(mask, value); }
JAHP_DEVICE std::int32_t shuffle(std::uint32_t mask, std::int32_t value, int from) {
    return __shfl_sync(mask, value, from);
}

// c += a * b for a 16x32 (rows) and b 32x8 (columns) of signed bytes; a warp's fragments as the PTX ISA lays them out.
JAHP_DEVICE void mma_s8(std::int32_t (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
        "%3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Groups: the blocks of an image. kDistributed says where what all blocks read is kept: in a copy in each block's
// shared memory, or once in global memory. store_all(p, rank, blocks, v) stores v at p for all blocks; p lies in the
// caller's own shared memory, or in global memory. The memory of another block may be reached from the first sync of
// the group until the last one that both pass.

// As one thread-block cluster, from compute capability 9.0 on. The barrier orders global and distributed shared memory.
struct ClusterGroup {
    static constexpr bool kDistributed = true;

    JAHP_DEVICE void sync() {
#if __CUDA_ARCH__ >= 900
        __syncwarp();  // the instructions want whole warps
        asm volatile("barrier.cluster.arrive.release.aligned;\n\tbarrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
    }

    // blocks: a power of two. Every block begins with itself, so that they do not all store into the same one.
    JAHP_DEVICE void store_all(std::uint32_t* p, int rank, int blocks, std::uint32_t v) {
#if __CUDA_ARCH__ >= 900
        const auto own = static_cast<std::uint32_t>(__cvta_generic_to_shared(p));
        JAHP_UNROLL_4
        for (int i = 0; i < blocks; ++i) {
            const int to = (rank + i) & (blocks - 1);
            asm volatile(
                "{\n\t.reg .b32 there;\n\tmapa.shared::cluster.u32 there, %0, %1;\n\tst.shared::cluster.u32 [there], "
                "%2;\n\t}" ::"r"(own),
                "r"(to), "r"(v)
                : "memory");
        }
#endif
    }
};

// As part of a cooperative grid. `arrived` starts at 0 and counts blocks over all barriers.
struct GridGroup {
    static constexpr bool kDistributed = false;
    std::uint32_t* arrived;
    std::uint32_t blocks, target;

    JAHP_DEVICE void sync() {
        __syncthreads();
        target += blocks;
        if (threadIdx.x == 0) {
            __threadfence();
            atomicAdd(arrived, 1u);
            while (static_cast<std::int32_t>(*static_cast<volatile std::uint32_t*>(arrived) - target) < 0)
                __nanosleep(20);
            __threadfence();
        }
        __syncthreads();
    }

    JAHP_DEVICE void store_all(std::uint32_t* p, int, int, std::uint32_t v) { store(p, v); }
};

}  // namespace jahp::cuda
