// SPDX-License-Identifier: Apache-2.0
// Compiled with -msimd128.
#include "simd/symbol_checksum_loop.hpp"

namespace jahp {

std::uint32_t symbol_checksum_wasm(const std::int32_t* values, std::size_t count, std::uint32_t first) {
    return symbol_checksum_loop(values, count, first);
}

}  // namespace jahp
