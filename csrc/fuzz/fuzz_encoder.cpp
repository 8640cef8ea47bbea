// SPDX-License-Identifier: Apache-2.0
// Input: u8 model | u8 log2 of the lanes, 7: chosen | u8 height | u8 width | u8 skip | u8 flags | values.
// Values are latents, 16 bits each, or (flag 1) the pixels of an image whose latents a random g_a gives. What the
// encoder takes must decode to what it says the decoder will see, in form A without skipping to what it was given; what
// it refuses is a usage error.
#include <algorithm>
#include <memory>
#include <span>

#include "fuzz/fuzz.hpp"
#include "tests/random_model.hpp"
#include "tests/random_net.hpp"

namespace {

using namespace jahp;
using jahp::test::ModelShape;
using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t kHeader = 6;

struct Kit {
    explicit Kit(const ModelShape& shape) : Kit(test::RandomModel(shape, 11)) {}
    explicit Kit(const test::RandomModel& model) : scalar(model.build(Isa::scalar)), best(model.build(best_isa())) {
        test::RandomNet random(5);
        random.conv(3, 8, 5, 2, Activation::gdn).conv(8, scalar->latents(), 5, 2, Activation::none);
        g_a = std::make_unique<TransformNet>(random.build(best_isa()));
    }
    std::unique_ptr<EntropyModel> scalar, best;
    std::unique_ptr<TransformNet> g_a;
};

const Kit& kits(std::uint8_t choice) {
    static const Kit all[] = {Kit(ModelShape{.form = Form::a}),
                              Kit(ModelShape{.form = Form::b, .activation_bits = 16, .prob_bits = 16}),
                              Kit(ModelShape{.hyper = false}), Kit(ModelShape{.context = false}),
                              Kit(ModelShape{.hyper = false, .context = false})};
    return all[choice % std::size(all)];
}

// The values of an input, again from the start when they end.
class Values {
public:
    explicit Values(std::span<const std::uint8_t> from) : from_(from) {}
    int byte() { return from_.empty() ? 0 : from_[at_++ % from_.size()]; }
    std::int32_t signed_word() {
        const int low = byte();
        return static_cast<std::int16_t>(byte() << 8 | low);
    }

private:
    std::span<const std::uint8_t> from_;
    std::size_t at_ = 0;
};

Latents latents_of(const Kit& kit, std::span<const std::uint8_t> header, Values values) {
    Latents out;
    out.height = 1 + header[2] % 5;
    out.width = 1 + header[3] % 6;
    const bool hyper = kit.scalar->hyper_latents() > 0;
    out.hyper_height = hyper ? (out.height + 3) / 4 : 0;
    out.hyper_width = hyper ? (out.width + 3) / 4 : 0;
    const int scale = header[5] >> 4 & 7, bits = kit.scalar->form() == Form::b ? kit.scalar->mean_bits() : 0;
    out.z.resize(static_cast<std::size_t>(out.hyper_height * out.hyper_width * kit.scalar->hyper_latents()));
    for (std::int32_t& z : out.z) z = values.signed_word() >> 2 * scale;
    if ((header[5] & 1) == 0) {
        out.y.resize(static_cast<std::size_t>(out.height * out.width * kit.scalar->latents()));
        for (std::int32_t& y : out.y) y = (values.signed_word() >> 2 * scale) * (1 << bits);
        return out;
    }
    std::vector<std::int16_t> image(static_cast<std::size_t>(16 * out.height * out.width * 3));
    for (std::int16_t& v : image) v = static_cast<std::int16_t>(std::min(values.byte() << 2 * scale, 32767));
    const OutputValues sums = test::run(*kit.g_a, image, 4 * out.height, 4 * out.width, 1, 0);
    for (const std::int32_t sum : std::get<std::vector<std::int32_t>>(sums)) out.y.push_back(sum >> 18 << bits);
    return out;
}

}  // namespace

std::vector<std::uint8_t> fuzz_seed(std::uint32_t n) {
    const auto byte = [n](std::uint32_t by) { return static_cast<std::uint8_t>(n / by); };
    Bytes out{byte(1), byte(7), byte(2), byte(3), byte(5), static_cast<std::uint8_t>(n * 17)};
    test::Random random(n + 77);
    for (std::size_t i = 0; i < 40 + 4 * n; ++i) out.push_back(static_cast<std::uint8_t>(random(0, 255)));
    return out;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < kHeader) return 0;
    const std::span<const std::uint8_t> input(data, size);
    const Kit& kit = kits(input[0]);
    const Latents wanted = latents_of(kit, input, Values(input.subspan(kHeader)));
    const int log_lanes = input[1] % 8, skip = input[4] % 3;
    StreamLayout layout{wanted.height, wanted.width, log_lanes == 7 ? 0 : 1 << log_lanes, skip,
                        (input[5] & 2) != 0 ? std::size_t{200} : 0},
        again = layout;
    Latents seen = wanted, seen_again = wanted;
    Bytes payload, payload_again;
    bool refused = false, refused_again = false;
    const auto encode = [](const EntropyModel& model, Latents& latents, StreamLayout& how, Bytes& to, bool& no) {
        try {
            to = encode_latents(model, latents, how, 1);
        } catch (const Error& e) {
            fuzz_require(e.fault() == Fault::usage, "an encoder's fault is not one of usage");
            no = true;
        }
    };
    encode(*kit.best, seen, layout, payload, refused);
    encode(*kit.scalar, seen_again, again, payload_again, refused_again);
    fuzz_require(refused == refused_again, "kernels disagree whether latents can be coded");
    if (refused) return 0;
    fuzz_require(payload == payload_again && layout.lanes == again.lanes, "kernels write different payloads");
    const Latents decoded = decode_latents(*kit.best, payload, layout, 1);
    fuzz_require(decoded.y == seen.y && decoded.z == seen.z, "the decoder sees other latents than the encoder says");
    fuzz_require(kit.scalar->form() == Form::b || skip > 0 || seen.y == wanted.y, "latents have changed");
    return 0;
}
