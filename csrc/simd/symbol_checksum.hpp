// SPDX-License-Identifier: Apache-2.0
// The sum of mix(index, value) over an image's symbols (docs/reference/format.md, "Checksum of the symbols").
#pragma once

#include <cstddef>
#include <cstdint>

#include "simd/isa.hpp"

namespace jahp {

// Sum of symbol_mix(first + i, values[i]) for i < count, modulo 2^32.
using SymbolChecksum = std::uint32_t (*)(const std::int32_t* values, std::size_t count, std::uint32_t first);

SymbolChecksum symbol_checksum_for(Isa isa);

std::uint32_t symbol_checksum_scalar(const std::int32_t* values, std::size_t count, std::uint32_t first);
#if defined(__x86_64__)
std::uint32_t symbol_checksum_avx2(const std::int32_t* values, std::size_t count, std::uint32_t first);
std::uint32_t symbol_checksum_avx512vnni(const std::int32_t* values, std::size_t count, std::uint32_t first);
#elif defined(__wasm__)
std::uint32_t symbol_checksum_wasm(const std::int32_t* values, std::size_t count, std::uint32_t first);
#endif

}  // namespace jahp
