// SPDX-License-Identifier: Apache-2.0
// A fuzz target is one file with LLVMFuzzerTestOneInput, as libFuzzer wants it, and fuzz_seed. Under any compiler
// fuzz_main.cpp drives it: seeds, mutated by a generator that gives the same inputs everywhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

// Runs one input; aborts if something that must hold does not.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

// A well-formed input for any n: what mutations start from.
std::vector<std::uint8_t> fuzz_seed(std::uint32_t n);

// Unlike assert it stands in every build.
void fuzz_require(bool holds, const char* what);
