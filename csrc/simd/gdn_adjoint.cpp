// SPDX-License-Identifier: Apache-2.0
#include "simd/gdn_adjoint.hpp"

namespace jahp {

GdnAdjointKernel gdn_adjoint_for([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
    if (isa >= Isa::avx512vnni) return {gdn_adjoint_terms_avx512vnni, gdn_adjoint_combine_avx512vnni};
    if (isa >= Isa::avx2) return {gdn_adjoint_terms_avx2, gdn_adjoint_combine_avx2};
#elif defined(__aarch64__)
    if (isa >= Isa::neon) return {gdn_adjoint_terms_neon, gdn_adjoint_combine_neon};
#elif defined(__wasm__)
    if (isa >= Isa::wasm) return {gdn_adjoint_terms_wasm, gdn_adjoint_combine_wasm};
#endif
    return {gdn_adjoint_terms_scalar, gdn_adjoint_combine_scalar};
}

}  // namespace jahp
