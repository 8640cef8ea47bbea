// SPDX-License-Identifier: Apache-2.0
#include "simd/dot_i8.hpp"

namespace jahp {

DotI8 dot_i8_for([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
    if (isa >= Isa::avx512vnni) return dot_i8_avx512vnni;
#endif
    return nullptr;
}

}  // namespace jahp
