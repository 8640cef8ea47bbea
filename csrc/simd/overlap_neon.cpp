// SPDX-License-Identifier: Apache-2.0
// Compiled with -march=armv8.2-a+dotprod.
#include "simd/overlap_loop.hpp"

namespace jahp {

void overlap_neon(const OverlapArguments& a) { overlap_loop(a); }

}  // namespace jahp
