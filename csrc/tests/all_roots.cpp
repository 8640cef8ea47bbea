// SPDX-License-Identifier: Apache-2.0
// all_roots: the roots that inverse GDN multiplies by, of all norms from 1 to 2^31 - 1, with every instruction set that
// this CPU has. r is right where r^2 - r < n <= r^2 + r. Seconds each, minutes for the scalar one.
#include <cstdio>
#include <vector>

#include "simd/gdn.hpp"
#include "tests/random_model.hpp"

int main() {
    using namespace jahp;
    constexpr std::int64_t kRow = 4096;
    long wrong = 0;
    for (const Isa isa : available_isas()) {
        std::vector<std::int32_t> norm(kRow), shift(kRow, 16);
        std::vector<std::int16_t> x(kRow);
        std::vector<std::uint16_t> roots(kRow);
        const GdnKernel kernel = gdn_for(isa);
        long here = 0;
        for (std::int64_t first = 0; first < std::int64_t{1} << 31; first += kRow) {
            for (std::int64_t i = 0; i < kRow; ++i)
                norm[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(first + i > 0 ? first + i : 1);
            kernel.multiply_keep(x.data(), 1, kRow, norm.data(), shift.data(), roots.data());
            long row = 0;
            for (std::size_t i = 0; i < kRow; ++i) {
                const std::int64_t r = roots[i], n = norm[i];
                row += !(r * r - r < n && n <= r * r + r);
            }
            here += row;
        }
        std::printf("%s: %ld roots are wrong\n", isa_name(isa), here);
        wrong += here;
    }
    return wrong == 0 ? 0 : 1;
}
