// SPDX-License-Identifier: Apache-2.0
// The loop that the instruction sets share. For symbol_checksum_*.cpp alone: internal linkage, so that each file has
// its own copy, vectorised for its own instructions.
#pragma once

#include "core/symbol_mix.hpp"
#include "simd/symbol_checksum.hpp"

namespace jahp {
namespace {

inline std::uint32_t symbol_checksum_loop(const std::int32_t* values, std::size_t count, std::uint32_t first) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < count; ++i)
        sum += symbol_mix(first + static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(values[i]));
    return sum;
}

}  // namespace
}  // namespace jahp
