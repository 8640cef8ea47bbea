// SPDX-License-Identifier: Apache-2.0
#include "simd/symbol_rows.hpp"

namespace jahp {

SymbolRows symbol_rows_for([[maybe_unused]] Isa isa, [[maybe_unused]] int scales) {
#if defined(__x86_64__)
    if (isa >= Isa::avx512vnni && scales <= 64) return symbol_rows_avx512vnni;
#endif
    return symbol_rows_scalar;
}

}  // namespace jahp
