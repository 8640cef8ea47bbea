// SPDX-License-Identifier: Apache-2.0
#include "simd/isa.hpp"

#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "core/error.hpp"

namespace jahp {
namespace {

constexpr Isa kAll[] = {Isa::scalar, Isa::neon, Isa::avx2, Isa::avxvnni, Isa::avx512vnni};

#if defined(__x86_64__)
bool has_avxvnni() {  // gcc 12's __builtin_cpu_supports does not know it; "avx2" has asked the system for the registers
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & (1u << 4)) != 0;
}
#elif defined(__aarch64__) && defined(__linux__)
bool has_dot_product() { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }
#elif defined(__aarch64__)
bool has_dot_product() { return true; }  // of Apple's, all have it
#endif

}  // namespace

const char* isa_name(Isa isa) {
    switch (isa) {
        case Isa::scalar: return "scalar";
        case Isa::neon: return "neon";
        case Isa::avx2: return "avx2";
        case Isa::avxvnni: return "avxvnni";
        case Isa::avx512vnni: return "avx512vnni";
    }
    return "unknown";
}

bool cpu_has(Isa isa) {
    switch (isa) {
        case Isa::scalar: return true;
#if defined(__x86_64__)
        case Isa::avx2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
        case Isa::avxvnni: return cpu_has(Isa::avx2) && has_avxvnni();
        case Isa::avx512vnni:
            return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                   __builtin_cpu_supports("avx512vnni");
#elif defined(__aarch64__)
        case Isa::neon: return has_dot_product();
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
    throw Error(Fault::usage, "JAHP_FAST_ISA=" + std::string(name) + " is none of scalar, avx2, avxvnni, avx512vnni, neon");
}

}  // namespace jahp
