// SPDX-License-Identifier: Apache-2.0
// A fuzz target is one file with LLVMFuzzerTestOneInput, as libFuzzer wants it, and fuzz_seed; one with
// JAHP_FUZZ_REPAIRS defined has fuzz_repaired too. Under any compiler fuzz_main.cpp drives it: seeds, mutated by a
// generator that gives the same inputs everywhere.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <vector>

// Runs one input; aborts if something that must hold does not.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

// A well-formed input for any n: what mutations start from.
std::vector<std::uint8_t> fuzz_seed(std::uint32_t n);

// A mutated input, most times with the checksums and codes made true again, so that it is not refused at the door. The
// same for the same input and seed.
std::vector<std::uint8_t> fuzz_repaired(std::vector<std::uint8_t> input, std::uint32_t seed);

// Unlike assert it stands in every build.
void fuzz_require(bool holds, const char* what);

// How many inputs ended in which way; told at the end of the program.
template <std::size_t N>
class Outcomes {
public:
    explicit Outcomes(const std::array<const char*, N>& names) : names_(names) {}
    ~Outcomes() {
        for (std::size_t i = 0; i < N; ++i)
            std::fprintf(stderr, "%s %llu%s", names_[i], counts_[i], i + 1 < N ? ", " : "\n");
    }
    Outcomes(const Outcomes&) = delete;
    Outcomes& operator=(const Outcomes&) = delete;
    int count(std::size_t outcome) {
        ++counts_[outcome];
        return 0;
    }

private:
    std::array<const char*, N> names_;
    std::array<unsigned long long, N> counts_{};
};
