// SPDX-License-Identifier: Apache-2.0
// Random transforms for the tests and the fuzz targets.
#pragma once

#include <algorithm>
#include <cmath>
#include <deque>

#include "core/transform_net.hpp"
#include "tests/random_floats.hpp"

namespace jahp::test {

enum class After { nothing, relu, leaky, gdn, inverse_gdn, local };

// What inverse GDNs multiplied by, and what local gains made of it, layer by layer in the order of the nets.
struct TextbookTrace {
    std::vector<std::vector<double>> roots, squares;
};

// A chain with its own tensors, and what it gives in doubles as the textbook has it.
class RandomNet {
public:
    explicit RandomNet(std::uint32_t seed) : random_(seed) {}

    RandomNet& conv(int inputs, int outputs, int kernel, int stride, After after) {
        return add(false, inputs, outputs, kernel, stride, after);
    }
    RandomNet& deconv(int inputs, int outputs, After after) { return add(true, inputs, outputs, 5, 2, after); }

    TransformNet build(Isa isa) const { return {layers_, isa}; }
    std::vector<ConvTensors>& layers() { return layers_; }

    std::vector<double> textbook(std::span<const float> x, int h, int w) const {
        TextbookTrace unread;
        return textbook(x, h, w, unread);
    }

    std::vector<double> textbook(std::span<const float> x, int h, int w, TextbookTrace& trace) const {
        std::vector<double> in(x.begin(), x.end());
        for (const ConvTensors& t : layers_) {
            const int oh = t.transposed ? 2 * h : (h - 1) / t.stride + 1,
                      ow = t.transposed ? 2 * w : (w - 1) / t.stride + 1;
            std::vector<double> out(size(oh, ow, t.outputs));
            for (std::size_t i = 0; i < out.size(); ++i) out[i] = t.bias[i % static_cast<std::size_t>(t.outputs)];
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
            if (t.inverse) trace.roots.emplace_back();
            if (!t.steady.empty()) trace.squares.emplace_back();
            for (std::size_t p = 0; p < size(oh, ow); ++p)
                after(t, out.data() + p * static_cast<std::size_t>(t.outputs), p, trace);
            in = std::move(out);
            h = oh;
            w = ow;
        }
        return in;
    }

    Random& random() { return random_; }

private:
    static std::size_t size(int a, int b, int c = 1) {
        return static_cast<std::size_t>(a) * static_cast<std::size_t>(b) * static_cast<std::size_t>(c);
    }

    static void tap(const ConvTensors& t, int k, const double* in, double* out) {
        const auto all = static_cast<std::size_t>(t.kernel * t.kernel);
        for (int o = 0; o < t.outputs; ++o)
            for (int i = 0; i < t.inputs; ++i)
                out[o] += in[i] * t.weight[(t.transposed ? size(i, t.outputs) + static_cast<std::size_t>(o)
                                                         : size(o, t.inputs) + static_cast<std::size_t>(i)) *
                                               all +
                                           static_cast<std::size_t>(k)];
    }

    static void after(const ConvTensors& t, double* y, std::size_t position, TextbookTrace& trace) {
        const std::vector<double> x(y, y + t.outputs);
        double squares = 0;
        for (int o = 0; o < t.outputs; ++o) {
            const auto channel = static_cast<std::size_t>(o);
            if (y[o] < 0) y[o] *= t.slope;
            if (!t.steady.empty()) {
                const double root = trace.roots[trace.roots.size() - trace.squares.size()]
                                               [position * x.size() + channel];
                const double factor = t.steady[channel] + t.varying[channel] * root;
                y[o] *= factor;
                squares += factor * factor;
            }
            if (t.gamma.empty()) continue;
            double norm = t.beta[static_cast<std::size_t>(o)];
            for (int i = 0; i < t.outputs; ++i)
                norm += t.gamma[size(o, t.outputs) + static_cast<std::size_t>(i)] * x[static_cast<std::size_t>(i)] *
                        x[static_cast<std::size_t>(i)];
            y[o] = t.inverse ? y[o] * std::sqrt(norm) : y[o] / std::sqrt(norm);
            if (t.inverse) trace.roots.back().push_back(std::sqrt(norm));
        }
        if (!t.steady.empty()) trace.squares.back().push_back(squares / t.outputs);
    }

    std::span<const float> tensor(std::size_t count, float limit, bool positive = false) {
        kept_.push_back(random_floats(random_, count, limit));
        for (float& v : kept_.back())
            if (positive) v = std::abs(v);
        return kept_.back();
    }

    RandomNet& add(bool transposed, int inputs, int outputs, int kernel, int stride, After after) {
        ConvTensors t;
        t.name = "layer";
        t.transposed = transposed;
        t.inputs = inputs;
        t.outputs = outputs;
        t.kernel = kernel;
        t.stride = stride;
        t.weight = tensor(size(inputs, outputs, kernel * kernel),
                          2 / std::sqrt(static_cast<float>(inputs * kernel * kernel)));
        t.bias = tensor(size(outputs, 1), 0.5f);
        t.slope = after == After::relu ? 0.0f : after == After::leaky ? 0.01f : 1.0f;
        if (after == After::gdn || after == After::inverse_gdn) {
            t.gamma = tensor(size(outputs, outputs), 0.2f / static_cast<float>(outputs), true);
            t.beta = tensor(size(outputs, 1), 1, true);
            for (float& v : kept_.back()) v += 0.5f;
            t.inverse = after == After::inverse_gdn;
        }
        if (after == After::local) {
            t.steady = tensor(size(outputs, 1), 1, true);
            t.varying = tensor(size(outputs, 1), 1, true);
        }
        layers_.push_back(t);
        return *this;
    }

    Random random_;
    std::deque<std::vector<float>> kept_;
    std::vector<ConvTensors> layers_;
};

// Pushed `strip` rows at a time; 0: all at once.
inline std::vector<float> run(const TransformNet& net, std::span<const float> x, int h, int w, int threads, int strip,
                              GainTrace* trace = nullptr) {
    TransformStream stream(net, h, w, trace);
    std::vector<float> out;
    const std::size_t pitch = x.size() / static_cast<std::size_t>(h);
    for (int r = 0; r < h;) {
        const int n = strip == 0 ? h : std::min(strip, h - r);
        stream.push(x.subspan(static_cast<std::size_t>(r) * pitch, static_cast<std::size_t>(n) * pitch), threads, out);
        r += n;
    }
    stream.finish();
    return out;
}

}  // namespace jahp::test
