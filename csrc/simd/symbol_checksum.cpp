// SPDX-License-Identifier: Apache-2.0
#include "simd/symbol_checksum.hpp"

namespace jahp {

SymbolChecksum symbol_checksum_for([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
    if (isa >= Isa::avx512vnni) return symbol_checksum_avx512vnni;
    if (isa >= Isa::avx2) return symbol_checksum_avx2;
#elif defined(__wasm__)
    if (isa >= Isa::wasm) return symbol_checksum_wasm;
#endif
    return symbol_checksum_scalar;
}

}  // namespace jahp
