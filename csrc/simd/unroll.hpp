// SPDX-License-Identifier: Apache-2.0
// Before a loop of few known rounds over an array of registers: unless it is unrolled early, the array stays in memory.
#pragma once

#if defined(__clang__)
#define JAHP_UNROLL _Pragma("unroll")
#else
#define JAHP_UNROLL _Pragma("GCC unroll 16")
#endif
