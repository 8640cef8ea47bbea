// SPDX-License-Identifier: Apache-2.0
// Input: u8 model | u8 log2 of the lanes | u8 height | u8 width | u8 skip | u8 flags | u32 checksum of the symbols |
// u32 CRC-32C of all but these four bytes | payload. The container proper is read in Python; this one holds what of it
// the core needs, in less. From bytes to floats as a decoder goes: CRC, latents, checksum of the symbols, g_s by rows
// as they become final. Scalar kernels on one thread and the best ones on one or two must agree; what is accepted must
// be the one encoding of it, and its rows must not have changed after they were final. Inputs are repaired after a
// mutation (fuzz_repaired), so that most are accepted.
#include <optional>
#include <random>
#include <span>

#include "core/crc32c.hpp"
#include "core/latent_decode.hpp"
#include "fuzz/fuzz.hpp"
#include "simd/symbol_checksum.hpp"
#include "tests/random_model.hpp"
#include "tests/random_net.hpp"

namespace {

using namespace jahp;
using jahp::test::ModelShape;
using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t kChecksum = 6, kCrc = 10, kHeader = 14, kPadded = 120;
// None of `one_thread`: two threads, and rows out of a thread of its own, which are made anew each time; one input in
// 64 then has that. None of `latents_only`: pixels are made, and latents encoded again.
enum Flag : std::uint8_t { padded = 1, one_thread = 0x7e, latents_only = 0x0c, copied = 0x80 };

struct Kit {
    explicit Kit(const ModelShape& shape) : Kit(test::RandomModel(shape, 7)) {}
    explicit Kit(const test::RandomModel& model)
        : scalar(model.build(Isa::scalar)), best(model.build(best_isa())),
          g_s(test::RandomNet(3).deconv(scalar->latents(), 3, Activation::inverse_gdn).build(best_isa())) {}
    std::unique_ptr<EntropyModel> scalar, best;
    TransformNet g_s;
};

const Kit& kit_of(std::uint8_t choice) {
    static const Kit all[] = {
        Kit(ModelShape{.latents = 3, .hyper_latents = 2}),
        Kit(ModelShape{
            .form = Form::b, .activation_bits = 16, .kernel = 3, .prob_bits = 16, .latents = 4, .hyper_latents = 1}),
        Kit(ModelShape{.hyper = false, .activation_bits = 16, .kernel = 7, .latents = 2}),
        Kit(ModelShape{.form = Form::b, .latents = 2, .hyper_latents = 3}),
        Kit(ModelShape{.context = false, .form = Form::b, .latents = 3, .hyper_latents = 2}),
        Kit(ModelShape{.context = false, .prob_bits = 16, .latents = 5, .hyper_latents = 1}),
        Kit(ModelShape{.hyper = false, .context = false, .latents = 6})};
    return all[choice % std::size(all)];
}

StreamLayout layout_of(std::span<const std::uint8_t> header) {
    StreamLayout layout{1 + header[2] % 4, 1 + header[3] % 5, 1 << header[1] % 7, header[4] % 4,
                        (header[5] & Flag::padded) != 0 ? kPadded : 0};
    if ((header[5] & Flag::copied) != 0) {
        test::Random random(header[4]);
        layout.copies = test::random_copies(*kit_of(header[0]).scalar, random, layout.height, layout.width);
    }
    return layout;
}

std::uint32_t number(std::span<const std::uint8_t> input, std::size_t at) {
    return input[at] | std::uint32_t{input[at + 1]} << 8 | std::uint32_t{input[at + 2]} << 16 |
           std::uint32_t{input[at + 3]} << 24;
}

void put(Bytes& input, std::size_t at, std::uint32_t value) {
    for (int i = 0; i < 4; ++i, value >>= 8) input[at++] = static_cast<std::uint8_t>(value);
}

std::uint32_t crc_of(std::span<const std::uint8_t> input) {
    return crc32c(input.subspan(kHeader), crc32c(input.first(kCrc)));
}

std::uint32_t scalar_checksum(const Latents& of) {
    return symbol_checksum_scalar(of.z.data(), of.z.size(), 0) +
           symbol_checksum_scalar(of.y.data(), of.y.size(), static_cast<std::uint32_t>(of.z.size()));
}

template <typename F>
bool accepted(const F& decode) {
    try {
        decode();
    } catch (const Error& e) {
        fuzz_require(e.fault() == Fault::format, "a damaged payload raised something else than a format error");
        return false;
    }
    return true;
}

// Takes rows of y as they come, and makes pixels of them if they are wanted.
class Pixels {
public:
    Pixels(const Kit& kit, const StreamLayout& layout, bool wanted)
        : row_(static_cast<std::size_t>(layout.width * kit.scalar->latents())) {
        if (wanted) stream_.emplace(kit.g_s, layout.height, layout.width);
    }

    void take(std::span<const std::int32_t> y) {
        seen.insert(seen.end(), y.begin(), y.end());
        if (!stream_) return;
        values_.clear();
        for (const std::int32_t v : y) values_.push_back(static_cast<std::int16_t>(std::clamp(v, -32768, 32767)));
        stream_->push(values_, 1, out);
    }
    void take_until(int rows, const Latents& latents) {
        const std::size_t end = static_cast<std::size_t>(rows) * row_;
        if (end > seen.size()) take(std::span(latents.y).subspan(seen.size(), end - seen.size()));
    }

    std::vector<std::int32_t> seen;
    OutputValues out = std::vector<std::int16_t>();

private:
    std::size_t row_;
    std::vector<std::int16_t> values_;
    std::optional<TransformStream> stream_;
};

std::uint32_t decode_apart(const Kit& kit, const Bytes& payload, const StreamLayout& layout, Pixels& pixels) {
    LatentDecode decode(*kit.best, payload, layout, 2);
    for (auto y = decode.rows(2); !y.empty(); y = decode.rows(2)) pixels.take(y);
    return decode.finish();
}

// What a payload decodes to, and where it is damaged what the decoder had by then and zeros.
Latents decode_leniently(const EntropyModel& model, const Bytes& payload, const StreamLayout& layout) {
    Latents out;
    accepted([&] { decode_latents(model, payload, layout, 1, out, nullptr, {}); });
    const auto size = [](int h, int w, int c) { return static_cast<std::size_t>(h * w * c); };
    out.z.resize(size(out.hyper_height, out.hyper_width, model.hyper_latents()));
    out.y.resize(size(out.height, out.width, model.latents()));
    return out;
}

void disturb(std::vector<std::int32_t>& values, std::int32_t unit, std::minstd_rand& random) {
    if (values.empty()) return;
    constexpr std::int32_t edges[] = {0, 1, -1, 2, 12, -13, 40, -100, 127, -128, 4095, -4096, 32767, -32767};
    for (auto n = random() % 5; n > 0; --n) {
        const auto edge = edges[random() % std::size(edges)];
        values[random() % values.size()] = edge * unit +
                                           static_cast<std::int32_t>(random() % static_cast<unsigned>(unit));
    }
}

// The input with these latents as its payload, and their checksum; as it was where they cannot be coded.
void encode_into(Bytes& input, const EntropyModel& model, Latents latents) {
    StreamLayout layout = layout_of(input);
    try {
        const Bytes payload = encode_latents(model, latents, layout, 1);
        input.resize(kHeader);
        input.insert(input.end(), payload.begin(), payload.end());
        put(input, kChecksum, symbol_checksum(latents.z, latents.y));
    } catch (const Error& e) {
        fuzz_require(e.fault() == Fault::usage, "an encoder's fault is not one of usage");
    }
}

}  // namespace

std::vector<std::uint8_t> fuzz_seed(std::uint32_t n) {
    const auto byte = [n](std::uint32_t by) { return static_cast<std::uint8_t>(n / by); };
    Bytes out{byte(1), byte(9), byte(2), byte(3), byte(5), static_cast<std::uint8_t>(n * 3)};
    out.resize(kHeader);
    const EntropyModel& model = *kit_of(out[0]).scalar;
    test::Random random(n);
    const StreamLayout layout = layout_of(out);
    encode_into(out, model, test::random_latents(model, random, layout.height, layout.width, 30));
    put(out, kCrc, crc_of(out));
    return out;
}

std::vector<std::uint8_t> fuzz_repaired(std::vector<std::uint8_t> input, std::uint32_t seed) {
    std::minstd_rand random(seed);
    if (input.size() < kHeader) input.resize(kHeader);
    const auto how = random() % 16;
    if (how > 2) {  // else the payload's own errors are what is looked for
        const EntropyModel& model = *kit_of(input[0]).best;
        Latents latents = decode_leniently(model, Bytes(input.begin() + kHeader, input.end()), layout_of(input));
        if (how > 7) disturb(latents.z, 1, random);
        if (how > 7) disturb(latents.y, model.form() == Form::b ? 1 << model.mean_bits() : 1, random);
        encode_into(input, model, std::move(latents));
    }
    if (how == 3) input[kChecksum] ^= 1;
    if (how != 0) put(input, kCrc, crc_of(input));
    return input;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static Outcomes<4> outcomes({"refused for the CRC", "for the payload", "for the checksum", "accepted"});
    const std::span<const std::uint8_t> input(data, size);
    if (size < kHeader || number(input, kCrc) != crc_of(input)) return outcomes.count(0);
    const Bytes payload(input.begin() + kHeader, input.end());  // of the exact length: see fuzz_range_decoder.cpp
    const Kit& kit = kit_of(input[0]);
    StreamLayout layout = layout_of(input);
    if (payload.size() < layout.min_bytes) return outcomes.count(1);  // which the container sees
    Latents one;
    std::uint32_t sum = 0;
    const bool whole = (input[5] & Flag::latents_only) == 0;
    Pixels by_rows(kit, layout, whole), again(kit, layout, whole);
    const bool sound = accepted([&] {
        decode_latents(*kit.scalar, payload, layout, 1, one, nullptr, [&](int rows) { by_rows.take_until(rows, one); });
    });
    const bool sound_too = accepted([&] {
        if ((input[5] & Flag::one_thread) == 0) {
            sum = decode_apart(kit, payload, layout, again);
            return;
        }
        const Latents two = decode_latents(*kit.best, payload, layout, 1);
        again.take(two.y);
        sum = symbol_checksum(two.z, two.y);
    });
    fuzz_require(sound == sound_too, "threads and kernels disagree whether the payload is sound");
    if (!sound) return outcomes.count(1);
    const std::uint32_t checksum = symbol_checksum(one.z, one.y);
    fuzz_require(again.seen == one.y && sum == checksum, "threads and kernels disagree on the latents");
    fuzz_require(by_rows.seen == one.y, "rows have changed after they were final");
    fuzz_require(checksum == scalar_checksum(one), "kernels disagree on the checksum");
    if (whole) {
        fuzz_require(by_rows.out == again.out, "the rows' order changes a bit of g_s");
        fuzz_require(encode_latents(*kit.best, one, layout, 1) == payload,
                     "an accepted payload is not what the encoder writes");
    }
    return outcomes.count(checksum == number(input, kChecksum) ? 3 : 2);
}
