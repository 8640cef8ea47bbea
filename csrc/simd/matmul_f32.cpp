// SPDX-License-Identifier: Apache-2.0
#include "simd/matmul_f32.hpp"

namespace jahp {

std::size_t MatmulF32Kernel::pack_index(int blocks, int depth, int k, int o) const {
    int first = 0, wide = matmul_panel(blocks, panel);
    while (o >= (first + wide) * kMatmulBlock) {
        first += wide;
        wide = matmul_panel(blocks - first, panel);
    }
    const auto width = static_cast<std::size_t>(wide) * kMatmulBlock;
    return static_cast<std::size_t>(first) * kMatmulBlock * static_cast<std::size_t>(depth) +
           static_cast<std::size_t>(k) * width + static_cast<std::size_t>(o - first * kMatmulBlock);
}

MatmulF32Kernel matmul_f32_for([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
    if (isa >= Isa::avx512vnni) return {4, matmul_f32_avx512vnni};
    if (isa >= Isa::avx2) return {1, matmul_f32_avx2};
#elif defined(__aarch64__)
    if (isa >= Isa::neon) return {1, matmul_f32_neon};
#endif
    return {1, matmul_f32_scalar};
}

}  // namespace jahp
