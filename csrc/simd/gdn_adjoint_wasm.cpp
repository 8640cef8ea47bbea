// SPDX-License-Identifier: Apache-2.0
// Compiled with -msimd128 and -ffp-contract=off.
#include "simd/gdn_adjoint_loop.hpp"

namespace jahp {

void gdn_adjoint_terms_wasm(const std::int16_t* g, const std::int16_t* x, const std::uint16_t* r,
                            std::ptrdiff_t positions, std::ptrdiff_t channels, const float* term, std::int16_t* terms) {
    terms_loop(g, x, r, positions, channels, term, terms);
}
void gdn_adjoint_combine_wasm(std::int16_t* g, const std::int16_t* x, const std::uint16_t* r, const std::int32_t* sums,
                              std::ptrdiff_t positions, std::ptrdiff_t channels, const GdnAdjointFactors& factors) {
    combine_loop(g, x, r, sums, positions, channels, factors);
}

}  // namespace jahp
