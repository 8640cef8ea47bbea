// SPDX-License-Identifier: Apache-2.0
// Random transforms for the tests and the fuzz targets.
#pragma once

#include <algorithm>
#include <cmath>
#include <deque>

#include "core/transform_net.hpp"
#include "tests/check.hpp"

namespace jahp::test {

// What inverse GDNs multiplied by, and what local gains made of it, layer by layer in the order of the nets.
struct TextbookTrace {
    std::vector<std::vector<std::int64_t>> roots, squares;
};

// The integer nearest to the square root.
inline std::int64_t textbook_root(std::int64_t n) {
    auto r = static_cast<std::int64_t>(std::sqrt(static_cast<double>(n)));
    while (r * r + r < n) ++r;
    while (r * r - r >= n) --r;
    return r;
}

// x / 2^shift, rounded, halves up.
inline std::int64_t textbook_shifted(std::int64_t x, int shift) {
    return (x + ((std::int64_t{1} << shift) >> 1)) >> shift;
}

inline std::int64_t textbook_clamped(std::int64_t x, std::int64_t limit) { return std::clamp(x, -limit, limit); }

// How large a layer's weights are: within 16 bits in Winograd's form too, or ±32767, which is not.
enum class Weights { small, large };

// A chain with its own tensors, and what it gives in 64 bits as the textbook has it.
class RandomNet {
public:
    explicit RandomNet(std::uint32_t seed, Weights weights = Weights::small) : random_(seed), weights_(weights) {}

    RandomNet& conv(int inputs, int outputs, int kernel, int stride, Activation after) {
        return add(false, inputs, outputs, kernel, stride, after);
    }
    RandomNet& deconv(int inputs, int outputs, Activation after) { return add(true, inputs, outputs, 5, 2, after); }

    TransformNet build(Isa isa) const { return {layers_, isa}; }
    std::vector<ConvTensors>& layers() { return layers_; }
    Random& random() { return random_; }

    std::vector<std::int64_t> textbook(std::span<const std::int16_t> x, int h, int w) const {
        TextbookTrace unread;
        return textbook(x, h, w, unread);
    }

    std::vector<std::int64_t> textbook(std::span<const std::int16_t> x, int h, int w, TextbookTrace& trace) const {
        std::vector<std::int64_t> in;
        for (const std::int16_t v : x) in.push_back(textbook_clamped(v, 8191));
        for (const ConvTensors& t : layers_) {
            const int oh = t.transposed ? 2 * h : (h - 1) / t.stride + 1,
                      ow = t.transposed ? 2 * w : (w - 1) / t.stride + 1;
            std::vector<std::int64_t> out(size(oh, ow, t.outputs));
            for (std::size_t i = 0; i < out.size(); ++i) out[i] = t.bias[i % size(t.outputs, 1)];
            const int half = t.kernel / 2;
            for (int r = 0; r < (t.transposed ? h : oh); ++r)
                for (int c = 0; c < (t.transposed ? w : ow); ++c)
                    for (int i = 0; i < t.kernel * t.kernel; ++i) {
                        const int fr = r * t.stride - half + i / t.kernel,
                                  fc = c * t.stride - half + i % t.kernel;  // of the larger map
                        if (fr < 0 || fc < 0 || fr >= (t.transposed ? oh : h) || fc >= (t.transposed ? ow : w))
                            continue;
                        tap(t, i, in.data() + (t.transposed ? size(r * w + c, t.inputs) : size(fr * w + fc, t.inputs)),
                            out.data() + (t.transposed ? size(fr * ow + fc, t.outputs) : size(r * ow + c, t.outputs)));
                    }
            if (t.activation == Activation::inverse_gdn) trace.roots.emplace_back();
            if (t.activation == Activation::local) trace.squares.emplace_back();
            for (std::size_t p = 0; p < size(oh, ow); ++p) after(t, out.data() + p * size(t.outputs, 1), p, trace);
            in = std::move(out);
            h = oh;
            w = ow;
        }
        return in;
    }

private:
    static std::size_t size(int a, int b, int c = 1) {
        return static_cast<std::size_t>(a) * static_cast<std::size_t>(b) * static_cast<std::size_t>(c);
    }

    static void tap(const ConvTensors& t, int k, const std::int64_t* in, std::int64_t* out) {
        for (int o = 0; o < t.outputs; ++o)
            for (int i = 0; i < t.inputs; ++i)
                out[o] += in[i] *
                          t.weight[(t.transposed ? size(i, t.outputs) + size(o, 1) : size(o, t.inputs) + size(i, 1)) *
                                       size(t.kernel, t.kernel) +
                                   size(k, 1)];
    }

    static std::int64_t wrapped(std::int64_t sum) {  // modulo 2^30
        return static_cast<std::int64_t>((static_cast<std::uint64_t>(sum) + (1u << 29)) % (1u << 30)) - (1 << 29);
    }

    static void after(const ConvTensors& t, std::int64_t* y, std::size_t position, TextbookTrace& trace) {
        std::vector<std::int64_t> x;
        for (int o = 0; o < t.outputs; ++o) {
            const int shift = t.shift[size(o, 1)];
            x.push_back(wrapped(y[o] + ((std::int64_t{1} << shift) >> 1)) >> shift);
        }
        if (t.activation == Activation::gdn || t.activation == Activation::inverse_gdn ||
            t.activation == Activation::local)
            for (std::int64_t& v : x) v = textbook_clamped(v, 16383);
        std::int64_t squares = 0;
        for (int o = 0; o < t.outputs; ++o) {
            const std::size_t c = size(o, 1);
            switch (t.activation) {
                case Activation::none:
                    y[o] = x[c];
                    break;
                case Activation::pixels:
                    y[o] = std::clamp<std::int64_t>(x[c], 0, 255);
                    break;
                case Activation::relu:
                    y[o] = std::clamp<std::int64_t>(x[c], 0, 8191);
                    break;
                case Activation::leaky_relu:
                    y[o] = std::clamp<std::int64_t>(x[c], -819100, 8191);
                    if (y[o] < 0) y[o] = textbook_shifted(y[o] * 2621, 18);
                    break;
                case Activation::gdn: {
                    std::int64_t n = norm(t, x, o);
                    int e = 0;
                    for (; n < 1 << 29; n *= 4) ++e;
                    const std::int64_t r = textbook_root(n);
                    y[o] = textbook_clamped(
                        textbook_shifted(x[c] * (((std::int64_t{1} << 31) + r) / (2 * r)), t.after_shift[c] - e), 8191);
                    break;
                }
                case Activation::inverse_gdn:
                    trace.roots.back().push_back(textbook_root(norm(t, x, o)));
                    y[o] = textbook_clamped(textbook_shifted(x[c] * trace.roots.back().back(), t.after_shift[c]), 8191);
                    break;
                case Activation::local: {
                    const std::int64_t root = trace.roots[trace.roots.size() - trace.squares.size()]
                                                         [position * x.size() + c];
                    const std::int64_t factor = std::min<std::int64_t>(
                        t.steady[c] + (t.varying[c] * root >> t.varying_shift[c]), 32767);
                    squares += (factor >> 5) * (factor >> 5);
                    y[o] = textbook_clamped(textbook_shifted(x[c] * factor, t.after_shift[c]), 8191);
                    break;
                }
                case Activation::inverse_gdn_adjoint:  // the plain version in NumPy is its oracle
                    break;
            }
        }
        if (t.activation == Activation::local) trace.squares.back().push_back(squares);
    }

    static std::int64_t norm(const ConvTensors& t, const std::vector<std::int64_t>& x, int o) {
        std::int64_t n = t.beta[size(o, 1)];
        for (int i = 0; i < t.outputs; ++i)
            n += t.gamma[size(o, t.outputs) + size(i, 1)] * textbook_shifted(x[size(i, 1)] * x[size(i, 1)], 12);
        return n;
    }

    std::span<const std::int16_t> shorts(std::size_t count, std::int64_t low, std::int64_t high) {
        return shorts_.emplace_back(random_.many<std::int16_t>(count, low, high));
    }
    std::span<const std::uint8_t> shifts(std::size_t count, std::int64_t low, std::int64_t high) {
        return shifts_.emplace_back(random_.many<std::uint8_t>(count, low, high));
    }

    RandomNet& add(bool transposed, int inputs, int outputs, int kernel, int stride, Activation after) {
        ConvTensors t;
        const std::size_t channels = size(outputs, 1);
        t.name = "layer";
        t.transposed = transposed;
        t.inputs = inputs;
        t.outputs = outputs;
        t.kernel = kernel;
        t.stride = stride;
        t.activation = after;
        const int limit = weights_ == Weights::small ? 32767 / 16 : 32767;
        t.weight = shorts(size(inputs, outputs, kernel * kernel), -limit, limit);
        t.bias = ints_.emplace_back(random_.many<std::int32_t>(channels, -(1 << 20), 1 << 20));
        if (weights_ == Weights::large)
            t.bias = ints_.emplace_back(random_.many<std::int32_t>(channels, -(std::int64_t{1} << 31), ~(1u << 31)));
        const int near = std::ilogb(std::sqrt(inputs * kernel * kernel) * limit / 2);
        t.shift = after == Activation::none     ? shifts(channels, 0, 0)
                  : weights_ == Weights::large  ? shifts(channels, 0, 29)
                  : after == Activation::pixels ? shifts(channels, near + 4, near + 6)
                                                : shifts(channels, near - 1, near + 1);
        if (after == Activation::gdn || after == Activation::inverse_gdn) {
            const bool inverse = after == Activation::inverse_gdn;
            const std::int64_t most = ((std::int64_t{1} << 31) - 1 - (1 << 20)) / 65535 / outputs;
            t.gamma = shorts(size(outputs, outputs), 0, std::min<std::int64_t>(32767, most));
            t.beta = ints_.emplace_back(random_.many<std::int32_t>(channels, 1, 1 << 20));
            t.after_shift = inverse ? shifts(channels, 12, 15) : shifts(channels, 16, 18);
        }
        if (after == Activation::local) {
            t.steady = shorts(channels, 0, 8191);
            t.varying = shorts(channels, 0, 32767);
            t.varying_shift = shifts(channels, 14, 18);
            t.after_shift = shifts(channels, 12, 14);
        }
        layers_.push_back(t);
        return *this;
    }

    Random random_;
    Weights weights_;
    std::deque<std::vector<std::int16_t>> shorts_;
    std::deque<std::vector<std::int32_t>> ints_;
    std::deque<std::vector<std::uint8_t>> shifts_;
    std::vector<ConvTensors> layers_;
};

inline std::vector<std::int16_t> random_activations(Random& random, std::size_t count, int limit = 8191) {
    return random.many<std::int16_t>(count, -limit, limit);
}

// Pushed `strip` rows at a time; 0: all at once.
inline OutputValues run(const TransformNet& net, std::span<const std::int16_t> x, int h, int w, int threads, int strip,
                        GainTrace* trace = nullptr) {
    TransformStream stream(net, h, w, trace);
    OutputValues out = net.no_values();
    const std::size_t pitch = x.size() / static_cast<std::size_t>(h);
    for (int r = 0; r < h;) {
        const int n = strip == 0 ? h : std::min(strip, h - r);
        stream.push(x.subspan(static_cast<std::size_t>(r) * pitch, static_cast<std::size_t>(n) * pitch), threads, out);
        r += n;
    }
    stream.finish();
    return out;
}

inline std::vector<std::int64_t> widened(const OutputValues& out) {
    return std::visit([](const auto& values) { return std::vector<std::int64_t>(values.begin(), values.end()); }, out);
}

}  // namespace jahp::test
