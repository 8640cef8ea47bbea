// SPDX-License-Identifier: Apache-2.0
#include "simd/isa.hpp"

#include <string>

#include "core/error.hpp"

namespace jahp {
namespace {

constexpr Isa kAll[] = {Isa::scalar, Isa::neon, Isa::avx2, Isa::avx512vnni};

}  // namespace

const char* isa_name(Isa isa) {
    switch (isa) {
        case Isa::scalar: return "scalar";
        case Isa::neon: return "neon";
        case Isa::avx2: return "avx2";
        case Isa::avx512vnni: return "avx512vnni";
    }
    return "unknown";
}

bool cpu_has(Isa isa) {
    switch (isa) {
        case Isa::scalar: return true;
#if defined(__x86_64__)
        case Isa::avx2: return __builtin_cpu_supports("avx2");
        case Isa::avx512vnni:
            return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                   __builtin_cpu_supports("avx512vnni");
#elif defined(__aarch64__)
        case Isa::neon: return true;
#endif
        default: return false;
    }
}

Isa best_isa() {
    Isa best = Isa::scalar;
    for (const Isa isa : kAll)
        if (cpu_has(isa)) best = isa;
    return best;
}

Isa parse_isa(const char* name) {
    if (name == nullptr || *name == '\0') return best_isa();
    for (const Isa isa : kAll) {
        if (std::string(name) != isa_name(isa)) continue;
        if (!cpu_has(isa)) throw Error(Fault::usage, "JAHP_FAST_ISA=" + std::string(name) + ": this CPU lacks it");
        return isa;
    }
    throw Error(Fault::usage, "JAHP_FAST_ISA=" + std::string(name) + " is none of scalar, avx2, avx512vnni, neon");
}

}  // namespace jahp
