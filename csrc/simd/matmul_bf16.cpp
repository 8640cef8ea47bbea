// SPDX-License-Identifier: Apache-2.0
#include "simd/matmul_bf16.hpp"

namespace jahp {

bool cpu_has_bf16() { return cpu_has_avx512bf16(); }

MatmulBf16Kernel matmul_bf16() {
#if defined(__x86_64__)
    if (cpu_has_bf16()) return {matmul_bf16_avx512bf16, narrow_bf16_avx512bf16};
#endif
    return {matmul_bf16_scalar, narrow_bf16_scalar};
}

}  // namespace jahp
