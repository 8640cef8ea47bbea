// SPDX-License-Identifier: Apache-2.0
// Instruction sets that kernels are written for, in rising order within one architecture.
#pragma once

#include <vector>

namespace jahp {

// i8mm: NEON with the products of matrices of bytes.
enum class Isa { scalar, wasm, neon, i8mm, avx2, avxvnni, avx512vnni };

const char* isa_name(Isa isa);

bool cpu_has(Isa isa);

// All that this CPU has, in rising order; the first is `scalar`.
std::vector<Isa> available_isas();

// The last of them.
Isa best_isa();

// "" or null: best_isa(). A name that is unknown, or that this CPU lacks: Error(usage).
Isa parse_isa(const char* name);

}  // namespace jahp
