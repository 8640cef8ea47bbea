// SPDX-License-Identifier: Apache-2.0
#include "simd/isa.hpp"

#include "tests/check.hpp"

namespace jahp::test {

#if defined(__x86_64__) && defined(__GLIBC__)
// The compilers' own runtimes, where they are to be trusted, say the same as what is asked of the CPU.
TEST(what_the_compilers_runtime_says) {
    const bool avx2 = __builtin_cpu_supports("avx2");
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
    CHECK_EQ(cpu_has(Isa::avx2), avx2);
    CHECK_EQ(cpu_has(Isa::avx512vnni), avx512);
    CHECK(!cpu_has(Isa::avxvnni) || avx2);
}
#endif

TEST(names) {
    CHECK(cpu_has(Isa::scalar));
    CHECK_EQ(static_cast<int>(parse_isa("scalar")), static_cast<int>(Isa::scalar));
    CHECK_EQ(static_cast<int>(parse_isa("")), static_cast<int>(best_isa()));
    CHECK_EQ(static_cast<int>(available_isas().front()), static_cast<int>(Isa::scalar));
    CHECK_EQ(static_cast<int>(available_isas().back()), static_cast<int>(best_isa()));
    for (const Isa isa : available_isas()) CHECK_EQ(static_cast<int>(parse_isa(isa_name(isa))), static_cast<int>(isa));
#if defined(__wasm__)
    CHECK(cpu_has(Isa::wasm));
#endif
    CHECK_EQ(static_cast<int>(parse_isa(isa_name(best_isa()))), static_cast<int>(best_isa()));
    CHECK_FAULT(usage, "none of scalar", parse_isa("sse9"));
    const Isa lacking = cpu_has(Isa::neon) ? Isa::avx2 : Isa::neon;
    CHECK_FAULT(usage, "this CPU lacks it", parse_isa(isa_name(lacking)));
}

}  // namespace jahp::test
