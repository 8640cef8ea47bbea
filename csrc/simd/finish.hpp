// SPDX-License-Identifier: Apache-2.0
// From a layer's sums to what follows them: bias, shift, clamp and leaky ReLU (docs/reference/format.md, section 14).
#pragma once

#include <cstddef>
#include <cstdint>

#include "simd/isa.hpp"

namespace jahp {

constexpr std::int32_t kLeakyMul = 2621, kLeakyShift = 18;  // a slope of 0.01
constexpr std::int32_t kLeakyLow = -819100;                 // what it takes; its product has 32 bits

// Sums are taken modulo 2^30: four times a sum, modulo 2^32, shifted by two more, is that. One entry an output, whole
// blocks of 16.
struct FinishTable {
    const std::int32_t* offset;  // 4 * (bias + 2^shift / 2), modulo 2^32
    const std::int32_t* shift;   // of the layer, plus 2: 2 to 31
    std::int32_t low, high;      // clamps
    bool leaky;  // x < 0: (x * kLeakyMul + 2^17) >> kLeakyShift; low is then kLeakyLow
};

// out[p * out_stride + o] = clamp(int32(4 * sums[p * sums_stride + o] + offset[o]) >> shift[o]), for p < positions, o <
// channels, a multiple of 16; the clamps lie in the range of the output's type, but for kLeakyLow.
struct Finish {
    template <typename Out>
    using To = void (*)(const std::int32_t* sums, std::ptrdiff_t sums_stride, int positions, int channels,
                        const FinishTable& table, Out* out, std::ptrdiff_t out_stride);
    To<std::int16_t> to_i16;
    To<std::int32_t> to_i32;
    To<std::uint8_t> to_u8;
};

Finish finish_for(Isa isa);

#define JAHP_FINISH(isa)                                                                                    \
    void finish_i16_##isa(const std::int32_t*, std::ptrdiff_t, int, int, const FinishTable&, std::int16_t*, \
                          std::ptrdiff_t);                                                                  \
    void finish_i32_##isa(const std::int32_t*, std::ptrdiff_t, int, int, const FinishTable&, std::int32_t*, \
                          std::ptrdiff_t);                                                                  \
    void finish_u8_##isa(const std::int32_t*, std::ptrdiff_t, int, int, const FinishTable&, std::uint8_t*,  \
                         std::ptrdiff_t)
JAHP_FINISH(scalar);
#if defined(__x86_64__)
JAHP_FINISH(avx2);
JAHP_FINISH(avx512vnni);
#elif defined(__aarch64__)
JAHP_FINISH(neon);
#elif defined(__wasm__)
JAHP_FINISH(wasm);
#endif
#undef JAHP_FINISH

}  // namespace jahp
