// SPDX-License-Identifier: Apache-2.0
// Instruction sets that kernels are written for, in rising order within one architecture.
#pragma once

namespace jahp {

enum class Isa { scalar, wasm, neon, avx2, avxvnni, avx512vnni };

const char* isa_name(Isa isa);

bool cpu_has(Isa isa);

// The best that this CPU has.
Isa best_isa();

// "" or null: best_isa(). A name that is unknown, or that this CPU lacks: Error(usage).
Isa parse_isa(const char* name);

}  // namespace jahp
