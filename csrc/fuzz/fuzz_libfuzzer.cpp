// SPDX-License-Identifier: Apache-2.0
// What a target needs of a driver under libFuzzer, which has its own main and names the input itself.
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "fuzz/fuzz.hpp"

void fuzz_require(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "%s\n", what);
    std::abort();
}

#ifdef JAHP_FUZZ_REPAIRS
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned int seed);

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned int seed) {
    const std::size_t mutated = LLVMFuzzerMutate(data, size, max_size);
    const std::vector<std::uint8_t> repaired = fuzz_repaired({data, data + mutated}, seed);
    if (repaired.size() > max_size) return mutated;
    std::copy(repaired.begin(), repaired.end(), data);
    return repaired.size();
}
#endif
