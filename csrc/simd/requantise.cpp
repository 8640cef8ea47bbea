// SPDX-License-Identifier: Apache-2.0
#include "simd/requantise.hpp"

namespace jahp {

Requantise requantise_for([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
    if (isa >= Isa::avx512vnni) return {requantise_i16_avx512vnni, requantise_i32_avx512vnni};
#endif
    return {requantise_i16_scalar, requantise_i32_scalar};
}

}  // namespace jahp
