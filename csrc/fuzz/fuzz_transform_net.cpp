// SPDX-License-Identifier: Apache-2.0
// Input: u8 net | u8 height | u8 width | u8 rows of a strip | u8 flags | int16 values, little-endian.
// Whatever the values are, rows pushed in strips to any kernels must come out as the scalar ones give them for all at
// once, to the bit.
#include "fuzz/fuzz.hpp"
#include "tests/random_model.hpp"
#include "tests/random_net.hpp"

namespace {

using namespace jahp;
using jahp::test::RandomNet;
using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t kHeader = 5;

struct Nets {
    explicit Nets(const RandomNet& net) : scalar(net.build(Isa::scalar)) {
        for (const Isa isa : available_isas()) others.push_back(net.build(isa));
    }
    TransformNet scalar;
    std::vector<TransformNet> others;
};

const Nets& nets(std::uint8_t choice) {
    using enum Activation;
    static const Nets all[] = {
        Nets(RandomNet(1).conv(3, 8, 5, 2, gdn).conv(8, 20, 5, 2, none)),
        Nets(RandomNet(2).deconv(9, 16, inverse_gdn).deconv(16, 3, pixels)),
        Nets(RandomNet(3).conv(5, 9, 3, 1, leaky_relu).conv(9, 9, 5, 2, relu)),
        Nets(RandomNet(4).deconv(4, 33, relu).conv(33, 5, 3, 2, none)),
        Nets(RandomNet(5, test::Weights::large).conv(9, 10, 5, 2, gdn).deconv(10, 9, inverse_gdn)),
        Nets(RandomNet(6, test::Weights::large).deconv(2, 3, inverse_gdn).conv(3, 4, 1, 1, none))};
    return all[choice % std::size(all)];
}

}  // namespace

std::vector<std::uint8_t> fuzz_seed(std::uint32_t n) {
    Bytes out{static_cast<std::uint8_t>(n), static_cast<std::uint8_t>(n / 3), static_cast<std::uint8_t>(n / 2),
              static_cast<std::uint8_t>(n / 5), 0};
    test::Random random(n);
    for (const std::int16_t v : test::random_activations(random, 60, n % 2 == 0 ? 8191 : 32767))
        for (int i = 0; i < 2; ++i) out.push_back(static_cast<std::uint8_t>(static_cast<std::uint16_t>(v) >> (8 * i)));
    return out;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < kHeader + 2) return 0;
    const Nets& group = nets(data[0]);
    const int height = 1 + data[1] % 12, width = 1 + data[2] % 13, strip = 1 + data[3] % 7;
    std::vector<std::int16_t> x(static_cast<std::size_t>(height * width * group.scalar.inputs()));
    const std::size_t words = (size - kHeader) / 2;
    for (std::size_t i = 0; i < x.size(); ++i) {  // again from the start when the words end
        const std::uint8_t* const at = data + kHeader + i % words * 2;
        x[i] = static_cast<std::int16_t>(at[0] | at[1] << 8);
    }
    const OutputValues want = test::run(group.scalar, x, height, width, 1, 0);
    for (const TransformNet& net : group.others)
        fuzz_require(test::run(net, x, height, width, 1, strip) == want, "kernels or strips change a bit");
    return 0;
}
