// SPDX-License-Identifier: Apache-2.0
#include "simd/winograd.hpp"

namespace jahp {

Winograd winograd_for([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
    if (isa >= Isa::avx512vnni)
        return {winograd_input_avx512vnni, winograd_output_i16_avx512vnni, winograd_output_i32_avx512vnni};
    if (isa >= Isa::avx2) return {winograd_input_avx2, winograd_output_i16_avx2, winograd_output_i32_avx2};
#elif defined(__aarch64__)
    if (isa >= Isa::neon) return {winograd_input_neon, winograd_output_i16_neon, winograd_output_i32_neon};
#elif defined(__wasm__)
    if (isa >= Isa::wasm) return {winograd_input_wasm, winograd_output_i16_wasm, winograd_output_i32_wasm};
#endif
    return {winograd_input_scalar, winograd_output_i16_scalar, winograd_output_i32_scalar};
}

}  // namespace jahp
