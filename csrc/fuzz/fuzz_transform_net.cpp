// SPDX-License-Identifier: Apache-2.0
// Input: u8 net | u8 height | u8 width | u8 rows of a strip | u8 flags | float32 values, little-endian.
// Whatever the values are, infinities and NaN among them, rows pushed in strips must come out as those pushed at once,
// to the bit, and for finite ones of ordinary size near what the scalar kernels give.
#include <cmath>
#include <cstring>
#include <memory>

#include "fuzz/fuzz.hpp"
#include "tests/random_net.hpp"

namespace {

using namespace jahp;
using jahp::test::After;
using jahp::test::RandomNet;
using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t kHeader = 5;

struct Nets {
    explicit Nets(const RandomNet& net) : scalar(net.build(Isa::scalar)), best(net.build(best_isa())) {}
    TransformNet scalar, best;
};

const Nets& nets(std::uint8_t choice) {
    static const Nets all[] = {Nets(RandomNet(1).conv(3, 8, 5, 2, After::gdn).conv(8, 20, 5, 2, After::nothing)),
                               Nets(RandomNet(2).deconv(9, 16, After::inverse_gdn).deconv(16, 3, After::nothing)),
                               Nets(RandomNet(3).conv(5, 9, 3, 1, After::leaky).conv(9, 9, 5, 2, After::relu)),
                               Nets(RandomNet(4).deconv(4, 33, After::nothing).conv(33, 5, 3, 2, After::nothing))};
    return all[choice % std::size(all)];
}

}  // namespace

std::vector<std::uint8_t> fuzz_seed(std::uint32_t n) {
    Bytes out{static_cast<std::uint8_t>(n), static_cast<std::uint8_t>(n / 3), static_cast<std::uint8_t>(n / 2),
              static_cast<std::uint8_t>(n / 5), 0};
    test::Random random(n);
    for (const float v : test::random_floats(random, 30, 1)) {
        std::uint32_t bits;
        std::memcpy(&bits, &v, 4);
        for (int i = 0; i < 4; ++i) out.push_back(static_cast<std::uint8_t>(bits >> (8 * i)));
    }
    return out;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < kHeader + 4) return 0;
    const Nets& pair = nets(data[0]);
    const int height = 1 + data[1] % 12, width = 1 + data[2] % 13, strip = 1 + data[3] % 7;
    std::vector<float> x(static_cast<std::size_t>(height * width * pair.best.inputs()));
    const std::size_t words = (size - kHeader) / 4;
    bool ordinary = true;
    for (std::size_t i = 0; i < x.size(); ++i) {  // again from the start when the words end
        const std::uint8_t* const at = data + kHeader + i % words * 4;
        const std::uint32_t bits = at[0] | std::uint32_t{at[1]} << 8 | std::uint32_t{at[2]} << 16 |
                                   std::uint32_t{at[3]} << 24;
        std::memcpy(&x[i], &bits, 4);
        ordinary = ordinary && std::abs(x[i]) <= 4;
    }
    const std::vector<float> whole = test::run(pair.best, x, height, width, 1, 0),
                             strips = test::run(pair.best, x, height, width, 1, strip);
    fuzz_require(whole.size() == strips.size() && std::memcmp(whole.data(), strips.data(), 4 * whole.size()) == 0,
                 "strips change a bit");
    if (!ordinary) return 0;
    const std::vector<float> scalar = test::run(pair.scalar, x, height, width, 1, 0);
    for (std::size_t i = 0; i < whole.size(); ++i)
        fuzz_require(std::abs(whole[i] - scalar[i]) < 1e-3f, "kernels differ by more than rounding");
    return 0;
}
