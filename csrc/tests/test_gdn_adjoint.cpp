// SPDX-License-Identifier: Apache-2.0
// All instruction sets against loops in doubles that round to floats where the kernels do.
#include "simd/gdn_adjoint.hpp"

#include <cmath>
#include <limits>

#include "simd/gdn.hpp"
#include "tests/check.hpp"
#include "tests/random_floats.hpp"
#include "tests/random_model.hpp"

namespace jahp::test {
namespace {

// The product, quotient or sum of two floats, to the nearest float: doubles hold enough bits for one rounding to
// decide.
float rounded(double value) { return static_cast<float>(value); }

std::int64_t held(float value, float limit) {
    if (std::isnan(value)) return static_cast<std::int64_t>(-limit);
    return static_cast<std::int64_t>(std::trunc(std::min(std::max(value, -limit), limit)));
}

struct Arrays {
    std::vector<std::int16_t> g, x;
    std::vector<std::uint16_t> roots;
    std::vector<std::int32_t> sums;
    std::vector<float> term, direct, cross;

    Arrays(Random& random, std::size_t positions, std::size_t channels, float limit)
        : g(random.many<std::int16_t>(positions * channels + 1, -16383, 16383)),
          x(random.many<std::int16_t>(positions * channels + 1, -16383, 16383)),
          roots(random.many<std::uint16_t>(positions * channels + 1, 1, 46341)),
          sums(random.many<std::int32_t>(positions * channels + 1, -(std::int64_t{1} << 31),
                                         (std::int64_t{1} << 31) - 1)),
          term(random_floats(random, channels, limit)), direct(random_floats(random, channels, 1e-4f * limit)),
          cross(random_floats(random, channels, 1e-9f * limit)) {}
};

void compare(Isa isa, const Arrays& a, std::size_t positions, std::size_t channels) {
    const GdnAdjointKernel kernel = gdn_adjoint_for(isa);
    const auto p = static_cast<std::ptrdiff_t>(positions), c = static_cast<std::ptrdiff_t>(channels);
    std::vector<std::int16_t> terms(a.g.size(), 77), out = a.g;
    kernel.terms(a.g.data(), a.x.data(), a.roots.data(), p, c, a.term.data(), terms.data());
    kernel.combine(out.data(), a.x.data(), a.roots.data(), a.sums.data(), p, c,
                   {a.term.data(), a.direct.data(), a.cross.data()});
    for (std::size_t i = 0; i < positions * channels; ++i) {
        const std::size_t o = i % channels;
        const float root = static_cast<float>(a.roots[i]);
        const float quotient = rounded(double{rounded(double{1} * a.g[i] * a.x[i])} / double{root});
        CHECK_EQ(terms[i], held(rounded(double{quotient} * double{a.term[o]}), 32767));
        const float own = rounded(double{rounded(double{1} * a.g[i] * a.roots[i])} * double{a.direct[o]}),
                    product = rounded(double{1} * a.x[i] * double{rounded(a.sums[i])}),
                    others = rounded(double{product} * double{a.cross[o]});
        CHECK_EQ(out[i], held(rounded(double{own} + double{others}), kActivationLimit));
    }
    CHECK_EQ(terms.back(), 77);
    CHECK_EQ(out.back(), a.g.back());
}

}  // namespace

TEST(all_instruction_sets_round_where_the_textbook_does) {
    Random random(1);
    for (const Isa isa : available_isas())
        for (const std::size_t channels : {16u, 48u, 208u})
            for (const std::size_t positions : {0u, 1u, 7u})
                for (const float limit : {1.0f, 1e3f, 1e30f})
                    compare(isa, Arrays(random, positions, channels, limit), positions, channels);
}

TEST(factors_beyond_all_use) {
    Random random(2);
    const float infinite = std::numeric_limits<float>::infinity();
    for (const Isa isa : available_isas()) {
        Arrays a(random, 3, 16, 1);
        a.g[0] = 0;  // 0 times infinity is no number
        a.term[0] = a.direct[0] = a.direct[1] = infinite;
        a.cross[1] = -infinite;
        a.direct[2] = std::numeric_limits<float>::max();
        compare(isa, a, 3, 16);
    }
}

}  // namespace jahp::test
