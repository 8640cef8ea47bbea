// SPDX-License-Identifier: Apache-2.0
#include "simd/matmul_i16.hpp"

#include <algorithm>

namespace jahp {

std::size_t MatmulI16Kernel::pack_index(int blocks, int depth, int k, int o) const {
    const int first = o / kMatmulBlock / panel * panel, wide = std::min(panel, blocks - first) * kMatmulBlock;
    return static_cast<std::size_t>(first) * kMatmulBlock * static_cast<std::size_t>(depth) +
           static_cast<std::size_t>(k / group) * static_cast<std::size_t>(group * wide) +
           static_cast<std::size_t>(group * (o - first * kMatmulBlock) + k % group);
}

MatmulI16Kernel matmul_i16_for([[maybe_unused]] Isa isa, [[maybe_unused]] int pairs) {
#if defined(__x86_64__)
    if (isa >= Isa::avx512vnni) return {2, 2, matmul_i16_avx512vnni};
    if (isa >= Isa::avx2) return {1, 2, matmul_i16_avx2};
#elif defined(__aarch64__)
    if (isa >= Isa::i8mm && pairs % 4 == 0) return {1, 8, matmul_i16_i8mm};
    if (isa >= Isa::neon) return {1, 2, matmul_i16_neon};
#elif defined(__wasm__)
    if (isa >= Isa::wasm) return {1, 2, matmul_i16_wasm};
#endif
    return {1, 2, matmul_i16_scalar};
}

}  // namespace jahp
