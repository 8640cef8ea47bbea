// SPDX-License-Identifier: Apache-2.0
#include "simd/finish.hpp"

namespace jahp {

Finish finish_for([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
    if (isa >= Isa::avx512vnni) return {finish_i16_avx512vnni, finish_i32_avx512vnni, finish_u8_avx512vnni};
    if (isa >= Isa::avx2) return {finish_i16_avx2, finish_i32_avx2, finish_u8_avx2};
#elif defined(__aarch64__)
    if (isa >= Isa::neon) return {finish_i16_neon, finish_i32_neon, finish_u8_neon};
#elif defined(__wasm__)
    if (isa >= Isa::wasm) return {finish_i16_wasm, finish_i32_wasm, finish_u8_wasm};
#endif
    return {finish_i16_scalar, finish_i32_scalar, finish_u8_scalar};
}

}  // namespace jahp
