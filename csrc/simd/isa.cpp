// SPDX-License-Identifier: Apache-2.0
#include "simd/isa.hpp"

#include <cstddef>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

#include "core/error.hpp"

namespace jahp {
namespace {

constexpr Isa kAll[] = {Isa::scalar, Isa::wasm, Isa::neon, Isa::i8mm, Isa::avx2, Isa::avxvnni, Isa::avx512vnni};

#if defined(__x86_64__)
// Asked of the CPU and not of __builtin_cpu_supports: gcc 12's does not know AVX-VNNI, and that of zig's runtime knows
// nothing.
struct Features {
    bool avx2 = false, avxvnni = false, avx512vnni = false;
    Features() {
        constexpr unsigned osxsave = 1u << 27, avx = 1u << 28;     // leaf 1, ecx
        constexpr unsigned ebx_avx2 = 1u << 5, f_bw_vl = 1u << 16 | 1u << 30 | 1u << 31,
                           vnni = 1u << 11;  // leaf 7: ebx, ebx, ecx
        constexpr unsigned ymm = 0x06, zmm = 0xe6;  // registers that the system saves
        unsigned a, b, c, d;
        if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (~c & (osxsave | avx)) != 0) return;
        unsigned saved, high;
        __asm__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
        if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (~saved & ymm) != 0) return;
        avx2 = (b & ebx_avx2) != 0;
        avx512vnni = (~saved & zmm) == 0 && (~b & f_bw_vl) == 0 && (c & vnni) != 0;
        if (a == 0 || __get_cpuid_count(7, 1, &a, &b, &c, &d) == 0) return;
        avxvnni = avx2 && (a & 1u << 4) != 0;
    }
};

const Features& features() {
    static const Features all;
    return all;
}
#elif defined(__aarch64__) && defined(__linux__)
bool has_dot_product() { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }
bool has_byte_matrices() { return (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0; }
#elif defined(__aarch64__) && defined(__APPLE__)
bool has_dot_product() { return true; }  // all have it
bool has_byte_matrices() {
    int has = 0;
    std::size_t size = sizeof has;
    return sysctlbyname("hw.optional.arm.FEAT_I8MM", &has, &size, nullptr, 0) == 0 && has != 0;
}
#elif defined(__aarch64__)
bool has_dot_product() { return false; }  // nobody to ask
bool has_byte_matrices() { return false; }
#endif

}  // namespace

const char* isa_name(Isa isa) {
    switch (isa) {
        case Isa::scalar:
            return "scalar";
        case Isa::wasm:
            return "wasm";
        case Isa::neon:
            return "neon";
        case Isa::i8mm:
            return "i8mm";
        case Isa::avx2:
            return "avx2";
        case Isa::avxvnni:
            return "avxvnni";
        case Isa::avx512vnni:
            return "avx512vnni";
    }
    return "unknown";
}

bool cpu_has(Isa isa) {
    switch (isa) {
        case Isa::scalar:
            return true;
#if defined(__x86_64__)
        case Isa::avx2:
            return features().avx2;
        case Isa::avxvnni:
            return features().avxvnni;
        case Isa::avx512vnni:
            return features().avx512vnni;
#elif defined(__aarch64__)
        case Isa::neon:
            return has_dot_product();
        case Isa::i8mm:
            return has_dot_product() && has_byte_matrices();
#elif defined(__wasm__)
        case Isa::wasm:
            return true;  // a module that holds such instructions is compiled whole or not at all
#endif
        default:
            return false;
    }
}

std::vector<Isa> available_isas() {
    std::vector<Isa> out;
    for (const Isa isa : kAll)
        if (cpu_has(isa)) out.push_back(isa);
    return out;
}

Isa best_isa() { return available_isas().back(); }

Isa parse_isa(const char* name) {
    if (name == nullptr || *name == '\0') return best_isa();
    for (const Isa isa : kAll) {
        if (std::string(name) != isa_name(isa)) continue;
        if (!cpu_has(isa)) throw Error(Fault::usage, "JAHP_FAST_ISA=" + std::string(name) + ": this CPU lacks it");
        return isa;
    }
    throw Error(Fault::usage, "JAHP_FAST_ISA=" + std::string(name) +
                                  " is none of scalar, avx2, avxvnni, avx512vnni, neon, i8mm, wasm");
}

}  // namespace jahp
