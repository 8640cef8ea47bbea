// SPDX-License-Identifier: Apache-2.0
#include "simd/context_input.hpp"

namespace jahp {

ContextInput context_input_for([[maybe_unused]] Isa isa, [[maybe_unused]] bool narrow) {
#if defined(__x86_64__)
    if (isa >= Isa::avx512vnni && narrow) return {context_input_i8_avx512vnni, context_input_i16_avx512vnni};
    if (isa >= Isa::avx2 && narrow) return {context_input_i8_avx2, context_input_i16_avx2};
#elif defined(__wasm__)
    if (isa >= Isa::wasm && narrow) return {context_input_i8_wasm, context_input_i16_wasm};
#endif
    return {context_input_i8_scalar, context_input_i16_scalar};
}

}  // namespace jahp
