// SPDX-License-Identifier: Apache-2.0
#include "simd/range_decode.hpp"

namespace jahp {

RangeDecodeRun range_decode_for([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
    if (isa >= Isa::avx512vnni) return range_decode_avx512vnni;
    if (isa >= Isa::avx2) return range_decode_avx2;
#elif defined(__wasm__)
    if (isa >= Isa::wasm) return range_decode_wasm;
#endif
    return range_decode_scalar;
}

}  // namespace jahp
