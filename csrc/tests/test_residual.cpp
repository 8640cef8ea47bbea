// SPDX-License-Identifier: Apache-2.0
// Layers over the pixels: what is coded comes back, whatever the data are nothing is undefined, and the bytes are the
// same everywhere. The oracle of the decoders is tests/independent/layers.py, which tests/codec/test_layers.py runs.
#include <algorithm>
#include <cstdlib>
#include <functional>

#include "core/crc32c.hpp"
#include "residual/adaptive_bits.hpp"
#include "residual/exact_pixels.hpp"
#include "residual/few_colours.hpp"
#include "residual/overlay.hpp"
#include "residual/residual_transform.hpp"
#include "residual/value_set.hpp"
#include "tests/check.hpp"

namespace jahp::test {
namespace {

using Bytes = std::vector<std::uint8_t>;

std::size_t samples(PixelShape s) {
    return static_cast<std::size_t>(s.height) * static_cast<std::size_t>(s.width) *
           static_cast<std::size_t>(s.channels);
}

// Noise, extremes, and ramps with a little noise, in turns.
Bytes picture(Random& random, PixelShape shape, int kind) {
    if (kind == 0) return random.many<std::uint8_t>(samples(shape), 0, 255);
    Bytes pixels(samples(shape));
    for (std::size_t i = 0; i < pixels.size(); ++i)
        pixels[i] = static_cast<std::uint8_t>(kind == 1 ? 255 * random(0, 1)
                                                        : static_cast<int>(i % 199) + random(0, 3));
    return pixels;
}

// The same in all of the range of `bits`.
std::vector<std::uint16_t> deep_picture(Random& random, PixelShape shape, int kind, int bits) {
    const int most = (1 << bits) - 1;
    if (kind == 0) return random.many<std::uint16_t>(samples(shape), 0, most);
    std::vector<std::uint16_t> pixels(samples(shape));
    for (std::size_t i = 0; i < pixels.size(); ++i)
        pixels[i] = static_cast<std::uint16_t>(
            kind == 1 ? most * static_cast<int>(random(0, 1))
                      : std::min(most, static_cast<int>(i % 199) * most / 200 + static_cast<int>(random(0, 3))));
    return pixels;
}

constexpr PixelShape kShapes[] = {{1, 1, 1}, {1, 1, 3}, {1, 30, 3}, {9, 1, 3}, {8, 8, 1}, {17, 23, 3}, {33, 40, 1}};

}  // namespace

TEST(squash_rises_and_stretch_inverts_it) {
    int last = 0;
    for (int x = -2047; x <= 2047; ++x) {
        CHECK(squash(x) >= last);
        CHECK(squash(x) >= 1 && squash(x) <= 4095);
        last = squash(x);
    }
    CHECK_EQ(squash(0), 2048);
    CHECK_EQ(squash(-5000), squash(-2047));
    for (int p = 0; p < 4096; ++p) {
        const int x = stretch(p);
        CHECK(squash(x) >= p || x == 2047);
        CHECK(x == -2047 || squash(x - 1) < p);
    }
}

TEST(bits_come_back_under_any_odds) {
    Random random(1);
    for (const int odds : {0, 1, 50, 99, 100}) {  // of a one, in hundredths
        BitModel a[2], b[2];
        Mixer mixer;
        BitEncoder encoder;
        std::vector<bool> bits;
        for (int i = 0; i < 20000; ++i) {
            bits.push_back(random(0, 99) < odds);
            if (i % 7 == 0)
                encoder.plain(bits.back());
            else
                encoder.code(a[i % 2], b[i % 3 == 0], mixer, bits.back());
        }
        const Bytes data = encoder.finish();
        BitModel c[2], d[2];
        Mixer other;
        BitDecoder decoder(data);
        bool same = true;
        for (int i = 0; i < 20000; ++i) {
            const auto at = static_cast<std::size_t>(i);
            same &= (i % 7 == 0 ? decoder.plain(false) : decoder.code(c[i % 2], d[i % 3 == 0], other, false)) ==
                    bits[at];
        }
        CHECK(same);
        CHECK(decoder.complete());
        if (odds == 0 || odds == 100) CHECK(data.size() < 500);  // a seventh of them are plain: 357 bytes
    }
}

TEST(a_carry_runs_through_bytes_of_255) {
    // Zeros of little odds push the lower end up to just below a carry; many tries meet long runs.
    Random random(2);
    for (int t = 0; t < 300; ++t) {
        BitEncoder encoder;
        BitModel a, b, c, d;
        Mixer m, n;
        const int count = static_cast<int>(random(1, 200));
        std::vector<bool> bits;
        for (int i = 0; i < count; ++i) bits.push_back(random(0, 30) == 0);
        for (const bool bit : bits) encoder.code(a, b, m, bit);
        const Bytes data = encoder.finish();
        BitDecoder decoder(data);
        for (const bool bit : bits) CHECK_EQ(decoder.code(c, d, n, false), bit);
        CHECK(decoder.complete());
    }
}

TEST(exact_pixels_keep_their_bound) {
    Random random(3);
    for (const PixelShape shape : kShapes)
        for (int kind = 0; kind < 3; ++kind)
            for (const int bound : {0, 1, 2, most_error(8)}) {
                const Bytes pixels = picture(random, shape, kind), data = encode_exact(pixels, shape, bound);
                Bytes back(pixels.size(), 77);
                CHECK(decode_exact(data, shape, bound, back));
                int worst = 0;
                for (std::size_t i = 0; i < back.size(); ++i) worst = std::max(worst, std::abs(back[i] - pixels[i]));
                CHECK(worst <= bound);
                const std::span<const std::uint8_t> all(data);
                CHECK(!decode_exact(all.first(data.size() - 1), shape, bound, back));
                Bytes longer = data;
                longer.push_back(0);
                CHECK(!decode_exact(longer, shape, bound, back));
            }
}

TEST(deep_pixels_keep_their_bound) {
    Random random(8);
    for (const PixelShape shape : kShapes)
        for (const int bits : {9, 10, 12, 15, 16})
            for (int kind = 0; kind < 3; ++kind)
                for (const int bound : {0, 1, most_error(bits)}) {
                    const std::vector<std::uint16_t> pixels = deep_picture(random, shape, kind, bits);
                    const Bytes data = encode_exact(pixels, shape, bits, bound);
                    std::vector<std::uint16_t> back(pixels.size(), 77);
                    CHECK(decode_exact(data, shape, bits, bound, back));
                    int worst = 0;
                    for (std::size_t i = 0; i < back.size(); ++i)
                        worst = std::max(worst, std::abs(back[i] - pixels[i]));
                    CHECK(worst <= bound);
                    const std::span<const std::uint8_t> all(data);
                    CHECK(!decode_exact(all.first(data.size() - 1), shape, bits, bound, back));
                }
}

TEST(values_come_back_and_places_stand_for_them) {
    Random random(9);
    for (const int bits : {9, 12, 16})
        for (const int gap : {1, 16, 257}) {
            std::vector<std::uint16_t> pixels = random.many<std::uint16_t>(600, 0, 200);
            for (std::uint16_t& p : pixels) p = static_cast<std::uint16_t>(p * gap % (1 << bits));
            const std::optional<Values> found = sparse_values(pixels);
            CHECK_EQ(found.has_value(), gap > 1);
            if (!found) continue;
            const Bytes data = pack_values(*found, bits);
            CHECK(unpack_values(data, bits) == *found);
            CHECK_EQ(count_values(data, bits), found->size());
            std::vector<std::uint16_t> back(pixels.size());
            if (bits_of_places(found->size()) == 8) {
                look_up<std::uint8_t>(places8(pixels, *found), *found, back);
                CHECK(back == pixels);
            }
            look_up<std::uint16_t>(places16(pixels, *found), *found, back);
            CHECK(back == pixels);
            const std::uint16_t none[] = {static_cast<std::uint16_t>(found->size())};
            CHECK_FAULT(format, "none of the values", look_up<std::uint16_t>(none, *found, back));
            CHECK_FAULT(format, "do not end", unpack_values(std::span(data).first(data.size() - 1), bits));
        }
    CHECK_EQ(bits_of_places(256), 8);
    CHECK_EQ(bits_of_places(257), 9);
    CHECK_EQ(bits_of_places(65536), 16);
}

TEST(colours_are_kept_few_or_many) {
    Random random(7);
    for (const PixelShape shape : kShapes)
        for (int kind = 0; kind < 4; ++kind) {
            Bytes pixels = picture(random, shape, kind % 3);
            if (kind == 3)
                for (std::uint8_t& p : pixels) p = static_cast<std::uint8_t>(p / 90 * 70);
            const Bytes data = encode_colours(pixels, shape);
            Bytes back(pixels.size(), 77);
            CHECK(decode_colours(data, shape, back));
            CHECK(back == pixels);
            const std::span<const std::uint8_t> all(data);
            CHECK(!decode_colours(all.first(data.size() - 1), shape, back));
        }
}

TEST(pixels_show_through_holes) {
    Random random(8);
    for (const PixelShape shape : kShapes)
        for (int kind = 0; kind < 4; ++kind) {
            Bytes pixels = picture(random, shape, 1), below = picture(random, shape, 0);
            const auto n = static_cast<std::size_t>(shape.channels);
            Bytes holes(pixels.size() / n), wanted = pixels;
            for (std::size_t i = 0; i < holes.size(); ++i) {
                holes[i] = static_cast<std::uint8_t>(kind == 0   ? 0
                                                     : kind == 1 ? 1
                                                     : kind == 2 ? random(0, 1)
                                                                 : i % 11 < 5);
                if (holes[i] == 0) continue;
                std::copy_n(below.begin() + static_cast<std::ptrdiff_t>(i * n), n,
                            wanted.begin() + static_cast<std::ptrdiff_t>(i * n));
            }
            const Bytes data = encode_overlay(pixels, holes, shape);
            Bytes back = below;
            CHECK(decode_overlay(data, shape, back));
            CHECK(back == wanted);
            for (std::size_t i = 0; i < holes.size(); ++i)  // what lies in a hole is of no account
                if (holes[i] != 0) pixels[i * n] ^= 85;
            CHECK(encode_overlay(pixels, holes, shape) == data);
            const std::span<const std::uint8_t> all(data);
            CHECK(!decode_overlay(all.first(data.size() - 1), shape, back));
        }
}

TEST(costs_add_up_to_the_data) {
    Random random(9);
    for (const PixelShape shape : {PixelShape{40, 64, 3}, PixelShape{64, 70, 1}})
        for (int kind = 0; kind < 4; ++kind) {
            Bytes pixels = picture(random, shape, kind % 3);
            if (kind == 3)  // long runs of one colour
                for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = i % 3333 < 3330 ? 200 : pixels[i];
            for (const int rows : {16, 64}) {
                const Strips strips(shape, rows);
                std::size_t size = 0;
                for (int i = 0; i < strips.count(); ++i)
                    size += encode_colours(strips.part(i, std::span<const std::uint8_t>(pixels)), strips.of(i)).size();
                std::uint64_t sum = 0;
                for (const std::uint32_t cost : colour_costs(pixels, strips, 2)) sum += cost;
                const double bytes = static_cast<double>(sum) / 256 / 8, more = static_cast<double>(size) - bytes;
                CHECK(more > -0.01 * bytes && more < 0.01 * bytes + 5 * strips.count());
            }
        }
}

template <typename Sample>
void residuals_come_near(const std::function<std::vector<Sample>(PixelShape, int kind)>& made) {
    const int level = sizeof(Sample) == 1 ? 1 : 257;
    for (const PixelShape shape : kShapes)
        for (int kind = 0; kind < 3; ++kind)
            for (const int step : {kLeastStep, 40, 333, kMostStep}) {
                const std::vector<Sample> pixels = made(shape, kind), coarse = made(shape, 2 - kind);
                const Bytes data = encode_residual<Sample>(pixels, coarse, shape, step);
                std::vector<Sample> back = coarse, again = coarse;
                CHECK(decode_residual<Sample>(data, shape, step, back));
                CHECK(decode_residual<Sample>(data, shape, step, again));
                CHECK(back == again);
                int worst = 0;
                for (std::size_t i = 0; i < back.size(); ++i) worst = std::max(worst, std::abs(back[i] - pixels[i]));
                if (step == kLeastStep) CHECK(worst <= 3 * level);
                const std::span<const std::uint8_t> all(data);
                CHECK(!decode_residual<Sample>(all.first(data.size() - 1), shape, step, back));
            }
}

TEST(residuals_come_near_by_their_step) {
    Random random(4);
    residuals_come_near<std::uint8_t>([&](PixelShape shape, int kind) { return picture(random, shape, kind); });
    residuals_come_near<std::uint16_t>(
        [&](PixelShape shape, int kind) { return deep_picture(random, shape, kind, 16); });
}

TEST(residuals_of_deep_samples_are_those_of_levels) {
    Random random(7);
    const PixelShape shape{24, 31, 3};
    const Bytes coarse = picture(random, shape, 1);
    Bytes pixels = coarse;
    for (std::uint8_t& sample : pixels) sample = static_cast<std::uint8_t>(std::clamp<int>(sample, 40, 215));
    const Bytes data = encode_residual<std::uint8_t>(pixels, coarse, shape, 64);
    Bytes back = coarse;
    std::vector<std::uint16_t> deep(coarse.begin(), coarse.end());
    for (std::uint16_t& sample : deep) sample = static_cast<std::uint16_t>(sample << 8);
    CHECK(decode_residual<std::uint8_t>(data, shape, 64, back));
    CHECK(decode_residual<std::uint16_t>(data, shape, 64, deep));
    bool near = true;
    for (std::size_t i = 0; i < deep.size(); ++i) near &= std::abs(deep[i] - (back[i] << 8)) <= 128;
    CHECK(near);
}

TEST(whatever_the_data_nothing_is_undefined) {
    Random random(5);
    for (int t = 0; t < 400; ++t) {
        const PixelShape shape = kShapes[random(0, 6)];
        Bytes data = random.many<std::uint8_t>(static_cast<std::size_t>(random(0, 300)), 0, 255);
        if (t % 4 == 0) std::fill(data.begin(), data.end(), static_cast<std::uint8_t>(t % 8 == 0 ? 0 : 255));
        Bytes pixels(samples(shape));
        decode_exact(data, shape, static_cast<int>(random(0, most_error(8))), pixels);
        const int bits = static_cast<int>(random(9, 16));
        std::vector<std::uint16_t> deep(samples(shape));
        decode_exact(data, shape, bits, static_cast<int>(random(0, most_error(bits))), deep);
        bool inside = true;
        for (const std::uint16_t sample : deep) inside &= sample >> bits == 0;
        CHECK(inside);
        CHECK_FAULT(format, "values", unpack_values(data, bits));
        const int step = static_cast<int>(random(kLeastStep, kMostStep));
        decode_residual<std::uint8_t>(data, shape, step, pixels);
        decode_residual<std::uint16_t>(data, shape, step, deep);
        decode_colours(data, shape, pixels);
        decode_overlay(data, shape, pixels);
    }
}

TEST(bytes_are_the_same_everywhere) {
    Random random(6);
    const PixelShape shape{45, 61, 3};
    const Bytes pixels = picture(random, shape, 2), coarse = picture(random, shape, 2);
    CHECK_EQ(crc32c(pixels), 1447360614u);
    CHECK_EQ(crc32c(encode_exact(pixels, shape, 0)), 3984525244u);
    CHECK_EQ(crc32c(encode_exact(pixels, shape, 2)), 694620630u);
    CHECK_EQ(crc32c(encode_colours(pixels, shape)), 2632136864u);
    Bytes holes(samples(shape) / 3);
    for (std::size_t i = 0; i < holes.size(); ++i) holes[i] = i / 7 % 3 == 0;
    CHECK_EQ(crc32c(encode_overlay(pixels, holes, shape)), 3944932578u);
    CHECK_EQ(crc32c(fill_drawn(pixels, holes, shape)), 4145205408u);
    CHECK_EQ(crc32c(encode_residual<std::uint8_t>(pixels, coarse, shape, 100)), 3453751165u);
    const std::vector<std::uint16_t> deep = deep_picture(random, shape, 2, 16), values{0, 16, 48, 4000};
    CHECK_EQ(crc32c(encode_exact(deep, shape, 16, 0)), 2681055307u);
    CHECK_EQ(crc32c(encode_exact(deep_picture(random, shape, 0, 12), shape, 12, 5)), 3743908027u);
    CHECK_EQ(crc32c(pack_values(values, 12)), 55029628u);
    const std::vector<std::uint16_t> below = deep_picture(random, shape, 1, 16);
    CHECK_EQ(crc32c(encode_residual<std::uint16_t>(deep, below, shape, 100)), 378749322u);
}

}  // namespace jahp::test
