// SPDX-License-Identifier: Apache-2.0
#include "simd/gdn.hpp"

namespace jahp {

GdnKernel gdn_for([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
    if (isa >= Isa::avx512vnni)
        return {gdn_squares_avx512vnni, gdn_divide_avx512vnni, gdn_multiply_avx512vnni, gdn_multiply_keep_avx512vnni,
                gdn_local_avx512vnni};
    if (isa >= Isa::avx2)
        return {gdn_squares_avx2, gdn_divide_avx2, gdn_multiply_avx2, gdn_multiply_keep_avx2, gdn_local_avx2};
#elif defined(__aarch64__)
    if (isa >= Isa::neon)
        return {gdn_squares_neon, gdn_divide_neon, gdn_multiply_neon, gdn_multiply_keep_neon, gdn_local_neon};
#elif defined(__wasm__)
    if (isa >= Isa::wasm)
        return {gdn_squares_wasm, gdn_divide_wasm, gdn_multiply_wasm, gdn_multiply_keep_wasm, gdn_local_wasm};
#endif
    return {gdn_squares_scalar, gdn_divide_scalar, gdn_multiply_scalar, gdn_multiply_keep_scalar, gdn_local_scalar};
}

}  // namespace jahp
