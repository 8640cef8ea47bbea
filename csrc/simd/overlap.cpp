// SPDX-License-Identifier: Apache-2.0
#include "simd/overlap.hpp"

namespace jahp {

Overlap overlap_for([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
    if (isa >= Isa::avx2) return overlap_avx2;
#elif defined(__aarch64__)
    if (isa >= Isa::neon) return overlap_neon;
#elif defined(__wasm__)
    if (isa >= Isa::wasm) return overlap_wasm;
#endif
    return overlap_scalar;
}

}  // namespace jahp
