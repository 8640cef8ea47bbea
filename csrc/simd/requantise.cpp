// SPDX-License-Identifier: Apache-2.0
#include "simd/requantise.hpp"

namespace jahp {

Requantise requantise_for([[maybe_unused]] Isa isa, [[maybe_unused]] bool narrow) {
#if defined(__x86_64__)
    if (isa >= Isa::avx512vnni && narrow)
        return {requantise_i8_avx512vnni, requantise_i16_avx512vnni, requantise_i32_avx512vnni};
    if (isa >= Isa::avx2 && narrow) return {requantise_i8_avx2, requantise_i16_avx2, requantise_i32_avx2};
#elif defined(__aarch64__)
    if (isa >= Isa::neon && narrow) return {requantise_i8_neon, requantise_i16_neon, requantise_i32_neon};
#elif defined(__wasm__)
    if (isa >= Isa::wasm && narrow) return {requantise_i8_wasm, requantise_i16_wasm, requantise_i32_wasm};
#endif
    return {requantise_i8_scalar, requantise_i16_scalar, requantise_i32_scalar};
}

}  // namespace jahp
