// SPDX-License-Identifier: Apache-2.0
#include "library/layer_chunk.hpp"

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <utility>

#include "core/error.hpp"
#include "library/little_endian.hpp"
#include "residual/drawing.hpp"
#include "residual/few_colours.hpp"
#include "residual/overlay.hpp"
#include "residual/residual_transform.hpp"
#include "residual/strips.hpp"

namespace jahp {
namespace {

constexpr std::size_t kHead = 8;
constexpr std::int64_t kStripPixels = 1 << 17;
constexpr int kMostStripPixels = 1 << 22;  // decoders hold strips as a whole

// One strip, or an even number of strips of some 2^17 pixels; less would cost bytes, more would keep threads waiting.
int strip_rows(PixelShape shape) {
    const std::int64_t pixels = std::int64_t{shape.height} * shape.width;
    const std::int64_t strips = std::max<std::int64_t>(1, pixels / (2 * kStripPixels) * 2);
    return static_cast<int>(8 * ((shape.height + 8 * strips - 1) / (8 * strips)));
}

// Of one colour: no work to share, and each strip takes 20 bytes.
int most_strip_rows(PixelShape shape) {
    return std::min((shape.height + 7) / 8 * 8, std::max(8, kMostStripPixels / shape.width / 8 * 8));
}

std::vector<std::uint8_t> packed(LayerKind kind, int bound, int step, int rows,
                                 const std::vector<std::vector<std::uint8_t>>& strips) {
    std::vector<std::uint8_t> out{static_cast<std::uint8_t>(kind), static_cast<std::uint8_t>(bound)};
    put_u16(out, static_cast<std::uint32_t>(step));
    put_u32(out, static_cast<std::uint32_t>(rows));
    for (const auto& strip : strips) put_u32(out, static_cast<std::uint32_t>(strip.size()));
    for (const auto& strip : strips) out.insert(out.end(), strip.begin(), strip.end());
    return out;
}

// Strips a thread between two calls of a poll.
constexpr int kAtOnce = 4;

// work(strips before it, part) for parts of a few strips, one after the other.
void by_parts(const Strips& whole, int threads, const Poll& poll,
              const std::function<void(int before, const Strips& part)>& work) {
    const int at_once = kAtOnce * threads;
    for (int before = 0; before < whole.count(); before += at_once) {
        poll();
        const int last = std::min(before + at_once, whole.count()) - 1;
        const int height = (last - before) * whole.rows + whole.of(last).height;
        work(before, Strips({height, whole.shape.width, whole.shape.channels}, whole.rows));
    }
}

std::vector<std::vector<std::uint8_t>> encoded(const Strips& whole, int threads, const Poll& poll,
                                               const std::function<std::vector<std::uint8_t>(int strip)>& code) {
    std::vector<std::vector<std::uint8_t>> all;
    by_parts(whole, threads, poll, [&](int before, const Strips& part) {
        for (auto& strip : part.encode(threads, [&](int i) { return code(before + i); }))
            all.push_back(std::move(strip));
    });
    return all;
}

// Samples of whole strips, the first of which is number `first`, by what decodes one.
template <typename Sample, typename Decode>
void decoded(const Layer& layer, std::span<Sample> samples, PixelShape shape, int first, int threads, const Poll& poll,
             const Decode& decode) {
    const std::span<const std::span<const std::uint8_t>> all(layer.strips);
    by_parts(Strips(shape, layer.rows), threads, poll, [&](int before, const Strips& part) {
        const std::span<Sample> of = samples.subspan(
            product(before, layer.rows, std::int64_t{shape.width} * shape.channels),
            product(part.shape.height, part.shape.width, part.shape.channels));
        part.decode(
            all.subspan(product(first + before, 1), product(part.count(), 1)), threads,
            [&](int i, std::span<const std::uint8_t> data) { return decode(data, part.of(i), part.part(i, of)); });
    });
}

// Whether at least a fifth of the pixels is as the one to the left, as in pictures of few colours; photos have less.
bool flat(std::span<const std::uint8_t> samples, PixelShape shape) {
    if (shape.width == 1) return true;
    const auto n = static_cast<std::size_t>(shape.channels);
    std::int64_t same = 0;
    for (std::size_t y = 0; y < static_cast<std::size_t>(shape.height); ++y)
        for (std::size_t x = 1; x < static_cast<std::size_t>(shape.width); ++x) {
            const std::uint8_t* pixel = samples.data() + (y * static_cast<std::size_t>(shape.width) + x) * n;
            same += std::equal(pixel, pixel + n, pixel - n);
        }
    return static_cast<double>(same) / (static_cast<double>(shape.height) * (shape.width - 1)) >= 0.2;
}

}  // namespace

void Layer::decode(std::span<std::uint8_t> samples, PixelShape shape, int first, int threads, const Poll& poll) const {
    decoded(*this, samples, shape, first, threads, poll,
            [&](std::span<const std::uint8_t> data, PixelShape of, std::span<std::uint8_t> strip) {
                if (kind == LayerKind::exact) return decode_exact(data, of, bound, strip);
                if (kind == LayerKind::colours) return decode_colours(data, of, strip);
                if (kind == LayerKind::overlay) return decode_overlay(data, of, strip);
                return decode_residual(data, of, step, strip);
            });
}

void Layer::decode(std::span<std::uint16_t> samples, PixelShape shape, int first, int threads, const Poll& poll) const {
    decoded(*this, samples, shape, first, threads, poll,
            [&](std::span<const std::uint8_t> data, PixelShape of, std::span<std::uint16_t> strip) {
                if (kind == LayerKind::residual) return decode_residual(data, of, step, strip);
                return decode_exact(data, of, bits, bound, strip);
            });
}

Layer parse_layer(std::span<const std::uint8_t> data, int height, const std::string& what, int bits) {
    const auto require = [&](bool holds, const std::string& said) {
        if (!holds) throw Error(Fault::format, what + " has " + said);
    };
    const std::string bytes = std::to_string(data.size()) + " bytes";
    require(data.size() >= kHead, bytes + ", which is shorter than its head");
    const int kind = data[0], bound = data[1], step = static_cast<int>(get_u16(data, 2));
    const std::uint32_t rows = get_u32(data, 4);
    require(kind <= 3, "kind " + std::to_string(kind) + ", which is unknown to this release");
    if (kind == 1 && bits > 8) bits = 16;
    require(kind <= 1 || bits == 8,
            "kind " + std::to_string(kind) + ", which has samples of 8 bits, and not of " + std::to_string(bits));
    const bool fine = bound <= (kind == 1 || kind == 3 ? 0 : most_error(bits)) &&
                      (kind == 1 ? step >= kLeastStep && step <= kMostStep : step == 0);
    require(fine, "an error of " + std::to_string(bound) + " and a step of " + std::to_string(step) +
                      ", which its kind cannot have");
    require(rows >= 8 && rows <= kMostStripRows && rows % 8 == 0,
            "strips of " + std::to_string(rows) + " rows: 8, 16, 24 ... were expected");
    Layer layer{static_cast<LayerKind>(kind), bound, step, static_cast<int>(rows), bits, {}};
    const std::size_t count = static_cast<std::size_t>((height - 1) / layer.rows + 1);
    std::uint64_t at = kHead + 4 * count;
    require(at <= data.size(), bytes + ", too few for the lengths of " + std::to_string(count) + " strips");
    std::uint64_t end = at;
    for (std::size_t i = 0; i < count; ++i) end += get_u32(data, kHead + 4 * i);
    require(end == data.size(), bytes + ", but speaks of " + std::to_string(end));
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint32_t length = get_u32(data, kHead + 4 * i);
        layer.strips.push_back(data.subspan(static_cast<std::size_t>(at), length));
        at += length;
    }
    return layer;
}

std::vector<std::uint8_t> pack_exact(std::span<const std::uint8_t> samples, PixelShape shape, int bound, int threads,
                                     const Poll& poll) {
    const Strips cut(shape, strip_rows(shape));
    std::vector<std::uint8_t> many = packed(
        LayerKind::exact, bound, 0, cut.rows,
        encoded(cut, threads, poll, [&](int i) { return encode_exact(cut.part(i, samples), cut.of(i), bound); }));
    if (!flat(samples, shape)) return many;
    std::vector<std::uint8_t> best = std::move(many);
    const auto offer = [&](std::vector<std::uint8_t> few) {
        if (few.size() < best.size()) best = std::move(few);
    };
    offer(pack_colours(samples, shape, 0, threads, poll));
    if (bound > 0) {
        const std::vector<std::uint8_t> merged = merge_colours(samples, shape, bound, 0);
        offer(pack_colours(merged, shape, errors_of(samples, merged).largest, threads, poll));
    }
    return best;
}

Errors errors_of(std::span<const std::uint8_t> samples, std::span<const std::uint8_t> others) {
    Errors errors;
    for (std::size_t i = 0; i < samples.size(); ++i) {
        const int error = std::abs(samples[i] - others[i]);
        errors.largest = std::max(errors.largest, error);
        errors.squares += error * error;
    }
    return errors;
}

std::vector<std::uint8_t> pack_colours(std::span<const std::uint8_t> samples, PixelShape shape, int bound, int threads,
                                       const Poll& poll) {
    const Strips cut(shape, one_colour(samples, shape) ? most_strip_rows(shape) : strip_rows(shape));
    return packed(LayerKind::colours, bound, 0, cut.rows,
                  encoded(cut, threads, poll, [&](int i) { return encode_colours(cut.part(i, samples), cut.of(i)); }));
}

std::vector<std::uint8_t> pack_overlay(std::span<const std::uint8_t> samples, std::span<const std::uint8_t> holes,
                                       PixelShape shape, int threads, const Poll& poll) {
    const Strips cut(shape, strip_rows(shape)), marks({shape.height, shape.width, 1}, cut.rows);
    return packed(LayerKind::overlay, 0, 0, cut.rows, encoded(cut, threads, poll, [&](int i) {
                      return encode_overlay(cut.part(i, samples), marks.part(i, holes), cut.of(i));
                  }));
}

std::vector<std::uint32_t> colour_costs(std::span<const std::uint8_t> samples, PixelShape shape, int threads,
                                        const Poll& poll) {
    const Strips cut(shape, strip_rows(shape));
    std::vector<std::uint32_t> costs;
    by_parts(cut, threads, poll, [&](int before, const Strips& part) {
        const std::size_t pitch = product(shape.width, shape.channels), rows = product(before, cut.rows);
        const auto of_part = samples.subspan(rows * pitch, product(part.shape.height, 1) * pitch);
        const std::vector<std::uint32_t> some = colour_costs(of_part, part, threads);
        costs.insert(costs.end(), some.begin(), some.end());
    });
    return costs;
}

std::vector<std::uint8_t> pack_exact(std::span<const std::uint16_t> samples, PixelShape shape, int bits, int bound,
                                     int threads, const Poll& poll) {
    const Strips cut(shape, strip_rows(shape));
    return packed(LayerKind::exact, bound, 0, cut.rows, encoded(cut, threads, poll, [&](int i) {
                      return encode_exact(cut.part(i, samples), cut.of(i), bits, bound);
                  }));
}

template <typename Sample>
std::vector<std::uint8_t> pack_residual(std::span<const Sample> samples, std::span<const Sample> coarse,
                                        PixelShape shape, int step, int threads, const Poll& poll) {
    const Strips cut(shape, strip_rows(shape));
    return packed(LayerKind::residual, 0, step, cut.rows, encoded(cut, threads, poll, [&](int i) {
                      return encode_residual(cut.part(i, samples), cut.part(i, coarse), cut.of(i), step);
                  }));
}
template std::vector<std::uint8_t> pack_residual(std::span<const std::uint8_t>, std::span<const std::uint8_t>,
                                                 PixelShape, int, int, const Poll&);
template std::vector<std::uint8_t> pack_residual(std::span<const std::uint16_t>, std::span<const std::uint16_t>,
                                                 PixelShape, int, int, const Poll&);

}  // namespace jahp
