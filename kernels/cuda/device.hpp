// SPDX-License-Identifier: Apache-2.0
// What kernels ask of a device, as thin wrappers. csrc/tests/emulator/device.hpp has the same names for the host; kernels differ
// between the two builds in this header and nowhere else.
//
// Memory that threads share is read and written through load() and store() only. What one thread stores another may load after a
// barrier that both have passed: sync_warp, sync_block, or a group's sync (the blocks of one image).
#pragma once

#include <cstdint>

#define JAHP_DEVICE __device__ __forceinline__
#define JAHP_UNROLL _Pragma("unroll")
#define JAHP_UNROLL_4 _Pragma("unroll 4")

namespace jahp::cuda {

JAHP_DEVICE int thread_index() { return static_cast<int>(threadIdx.x); }
JAHP_DEVICE int thread_count() { return static_cast<int>(blockDim.x); }
JAHP_DEVICE int block_index() { return static_cast<int>(blockIdx.x); }
JAHP_DEVICE int popcount(std::uint32_t v) { return __popc(v); }
JAHP_DEVICE int first_bit(std::uint32_t v) { return __ffs(static_cast<int>(v)) - 1; }  // v != 0

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
JAHP_DEVICE std::int32_t shuffle(std::uint32_t mask, std::int32_t value, int from) { return __shfl_sync(mask, value, from); }

// c += a * b for a 16x32 (rows) and b 32x8 (columns) of signed bytes; a warp's fragments as the PTX ISA lays them out.
JAHP_DEVICE void mma_s8(std::int32_t (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// The blocks of an image as one thread-block cluster. The barrier orders global memory among them too.
struct ClusterGroup {
    JAHP_DEVICE void sync() {
#if __CUDA_ARCH__ >= 900
        asm volatile("barrier.cluster.arrive.release.aligned;\n\tbarrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
    }
};

// The blocks of an image as part of a cooperative grid. `arrived` starts at 0 and counts blocks over all barriers.
struct GridGroup {
    std::uint32_t* arrived;
    std::uint32_t blocks, target;

    JAHP_DEVICE void sync() {
        __syncthreads();
        target += blocks;
        if (threadIdx.x == 0) {
            __threadfence();
            atomicAdd(arrived, 1u);
            while (static_cast<std::int32_t>(*static_cast<volatile std::uint32_t*>(arrived) - target) < 0) __nanosleep(20);
            __threadfence();
        }
        __syncthreads();
    }
};

}  // namespace jahp::cuda
