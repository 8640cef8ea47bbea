// SPDX-License-Identifier: Apache-2.0
// What a target needs of a driver under libFuzzer, which has its own main and names the input itself.
#include <cstdio>
#include <cstdlib>

#include "fuzz/fuzz.hpp"

void fuzz_require(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "%s\n", what);
    std::abort();
}
