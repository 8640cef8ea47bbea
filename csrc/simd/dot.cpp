// SPDX-License-Identifier: Apache-2.0
#include "simd/dot.hpp"

namespace jahp {

DotKernel dot_kernel_for([[maybe_unused]] Isa isa, std::int32_t limit) {
    [[maybe_unused]] const bool bytes = limit <= 127;
#if defined(__x86_64__)
    if (isa >= Isa::avx512vnni && bytes) return {dot_i8_avx512vnni, true, true, row_sums_avx512vnni};
    if (isa >= Isa::avx512vnni) return {dot_i16_avx512vnni, false, false, nullptr};
    if (isa >= Isa::avxvnni && bytes) return {dot_i8_avxvnni, true, true, row_sums_avxvnni};
    if (isa >= Isa::avx2) return {dot_i16_avx2, false, false, nullptr};
#elif defined(__aarch64__)
    if (isa >= Isa::neon && bytes) return {dot_i8_neon, true, false, nullptr};
    if (isa >= Isa::neon) return {dot_i16_neon, false, false, nullptr};
#elif defined(__wasm__)
    if (isa >= Isa::wasm) return {dot_i16_wasm, false, false, nullptr};
#endif
    return {dot_i16_scalar, false, false, nullptr};
}

}  // namespace jahp
