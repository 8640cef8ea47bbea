// SPDX-License-Identifier: Apache-2.0
// Input: u8 log2 of the lanes | u8 model | u8 height | u8 width | u8 skip | u8 padding and threads | payload.
// One thread with the scalar kernel and one or two with the best one must give the same latents or both refuse; what
// they accept must be the one encoding of it.
#include <optional>
#include <span>

#include "fuzz/fuzz.hpp"
#include "tests/random_model.hpp"

namespace {

using namespace jahp;
using jahp::test::ModelShape;
using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t kHeader = 6;

struct Pair {
    explicit Pair(const ModelShape& shape) : Pair(test::RandomModel(shape, 7)) {}
    explicit Pair(const test::RandomModel& model) : scalar(model.build(Isa::scalar)), best(model.build(best_isa())) {}
    std::unique_ptr<EntropyModel> scalar, best;
};

const Pair& models(std::uint8_t choice) {
    static const Pair all[] = {Pair(ModelShape{.form = Form::a}),
                               Pair(ModelShape{.form = Form::b, .activation_bits = 16, .prob_bits = 16}),
                               Pair(ModelShape{.hyper = false}), Pair(ModelShape{.context = false, .form = Form::b}),
                               Pair(ModelShape{.hyper = false, .context = false})};
    return all[choice % std::size(all)];
}

StreamLayout layout_of(std::span<const std::uint8_t> header, std::size_t payload) {
    return {1 + header[2] % 6, 1 + header[3] % 7, 1 << header[0] % 7, header[4] % 3, header[5] % 2 == 0 ? 0 : payload};
}

std::optional<Latents> attempt(const EntropyModel& model, const Bytes& payload, const StreamLayout& layout,
                               int threads) {
    try {
        return decode_latents(model, payload, layout, threads);
    } catch (const Error& e) {
        fuzz_require(e.fault() == Fault::format, "a damaged payload raised something else than a format error");
        return std::nullopt;
    }
}

}  // namespace

std::vector<std::uint8_t> fuzz_seed(std::uint32_t n) {
    const auto byte = [n](std::uint32_t by) { return static_cast<std::uint8_t>(n / by); };
    Bytes out{byte(9), byte(1), byte(2), byte(3), byte(5), static_cast<std::uint8_t>(n % 8 * 2)};
    const EntropyModel& model = *models(out[1]).scalar;
    test::Random random(n);
    StreamLayout layout = layout_of(out, 0);
    Latents latents = test::random_latents(model, random, layout.height, layout.width, 30);
    const Bytes payload = encode_latents(model, latents, layout, 1);
    out.insert(out.end(), payload.begin(), payload.end());
    return out;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < kHeader) return 0;
    const std::span<const std::uint8_t> input(data, size);
    const Bytes payload(input.begin() + kHeader, input.end());  // of the exact length: see fuzz_range_decoder.cpp
    const Pair& pair = models(input[1]);
    StreamLayout layout = layout_of(input, payload.size());
    const auto one = attempt(*pair.scalar, payload, layout, 1);
    const auto two = attempt(*pair.best, payload, layout,
                             input[5] % 16 < 2 ? 2 : 1);  // threads are made anew, which takes longer than the rest
    fuzz_require(one.has_value() == two.has_value(), "threads and kernels disagree whether the payload is sound");
    if (!one) return 0;
    fuzz_require(one->y == two->y && one->z == two->z, "threads and kernels disagree on the latents");
    Latents again = *one;
    fuzz_require(encode_latents(*pair.best, again, layout, 1) == payload,
                 "an accepted payload is not what the encoder writes");
    return 0;
}
