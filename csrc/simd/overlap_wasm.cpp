// SPDX-License-Identifier: Apache-2.0
// Compiled with -msimd128.
#include "simd/overlap_loop.hpp"

namespace jahp {

void overlap_wasm(const OverlapArguments& a) { overlap_loop(a); }

}  // namespace jahp
