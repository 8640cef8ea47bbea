// SPDX-License-Identifier: Apache-2.0
// The term that one symbol adds to the checksum (docs/reference/format.md, "Checksum of the symbols"). Its one home:
// the CPU and the CUDA kernel both include it, so it is plain C++17 and depends on nothing.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define JAHP_HOST_DEVICE __host__ __device__
#else
#define JAHP_HOST_DEVICE
#endif

namespace jahp {

// index: place of the symbol among all of z and then y, modulo 2^32. value: the symbol in two's complement.
// Internal linkage: each file has its own copy, compiled for its own instructions.
JAHP_HOST_DEVICE static constexpr inline std::uint32_t symbol_mix(std::uint32_t index, std::uint32_t value) {
    std::uint32_t h = index * 0x9E3779B1u + value * 0x85EBCA77u;
    h = (h ^ h >> 15) * 0x2C1B3C6Du;
    h = (h ^ h >> 12) * 0x297A2D39u;
    return h ^ h >> 15;
}

}  // namespace jahp
