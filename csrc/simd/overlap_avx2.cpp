// SPDX-License-Identifier: Apache-2.0
// Compiled with -mavx2.
#include "simd/overlap_loop.hpp"

namespace jahp {

void overlap_avx2(const OverlapArguments& a) { overlap_loop(a); }

}  // namespace jahp
