// SPDX-License-Identifier: Apache-2.0
#include "simd/dot_i16.hpp"

namespace jahp {

DotI16 dot_i16_for([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
    if (isa >= Isa::avx512vnni) return dot_i16_avx512vnni;
    if (isa >= Isa::avx2) return dot_i16_avx2;
#endif
    return dot_i16_scalar;
}

}  // namespace jahp
