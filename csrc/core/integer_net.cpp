// SPDX-License-Identifier: Apache-2.0
#include "core/integer_net.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/error.hpp"

namespace jahp {
namespace {

constexpr int kBlock = 16;  // positions handled together: their gathered inputs stay in the cache

[[noreturn]] void bad(const LayerTensors& t, const std::string& what) { throw Error(Fault::model, t.name + ": " + what); }

void check_tensors(const LayerTensors& t) {
    if (t.outputs < 1 || t.inputs < 1 || t.kernel < 1 || t.kernel > 15) bad(t, "has an impossible shape");
    const auto n = static_cast<std::size_t>(t.outputs);
    if (t.weight.size() != n * static_cast<std::size_t>(t.inputs) * static_cast<std::size_t>(t.kernel * t.kernel))
        bad(t, "weight has the wrong number of elements");
    if (t.bias.size() != n || t.mul_pos.size() != n || t.mul_neg.size() != n || t.shift.size() != n || t.zero.size() != n)
        bad(t, "bias, mul_pos, mul_neg, shift and zero must have one element an output");
    for (std::size_t o = 0; o < n; ++o) {
        if (t.shift[o] < 1 || t.shift[o] > 62) bad(t, "shift is not in 1..62");
        if (t.mul_pos[o] < 0 || t.mul_neg[o] < 0) bad(t, "multiplier is negative");
        if (t.zero[o] < -4095 || t.zero[o] > 4095) bad(t, "zero is not in -4095..4095");
    }
    if (std::any_of(t.weight.begin(), t.weight.end(), [](std::int8_t w) { return w == -128; })) bad(t, "weight of -128");
}

}  // namespace

Plane::Plane(int h, int w, int c)
    : height(h), width(w), channels(c),
      data(static_cast<std::size_t>(h) * static_cast<std::size_t>(w) * static_cast<std::size_t>(c)) {}

IntegerLayer::IntegerLayer(const LayerTensors& t, std::vector<Tap> taps, std::span<const int> cells, std::int32_t in_limit,
                           std::int32_t out_limit, DotI16 dot)
    : inputs_(t.inputs), outputs_(t.outputs), out_limit_(out_limit), taps_(std::move(taps)), dot_(dot) {
    check_tensors(t);
    const int used = static_cast<int>(taps_.size()) * inputs_;
    depth_ = (used + kDotDepthMultiple - 1) / kDotDepthMultiple * kDotDepthMultiple;
    weight_.resize(static_cast<std::size_t>(outputs_) * static_cast<std::size_t>(depth_));
    const int area = t.kernel * t.kernel;
    for (int o = 0; o < outputs_; ++o) {
        std::int16_t* row = weight_.data() + static_cast<std::ptrdiff_t>(o) * depth_;
        std::int64_t reach = std::abs(std::int64_t{t.bias[static_cast<std::size_t>(o)]});
        for (std::size_t tap = 0; tap < taps_.size(); ++tap)
            for (int i = 0; i < inputs_; ++i) {
                const std::size_t from = static_cast<std::size_t>(o * inputs_ + i) * static_cast<std::size_t>(area);
                const std::int16_t w = t.weight[from + static_cast<std::size_t>(cells[tap])];
                row[static_cast<int>(tap) * inputs_ + i] = w;
                reach += std::int64_t{std::abs(w)} * in_limit;
            }
        if (reach >= std::int64_t{1} << 31) bad(t, "output " + std::to_string(o) + " could overflow 32 bits");
    }
    bias_.assign(t.bias.begin(), t.bias.end());
    mul_pos_.assign(t.mul_pos.begin(), t.mul_pos.end());
    mul_neg_.assign(t.mul_neg.begin(), t.mul_neg.end());
    shift_.assign(t.shift.begin(), t.shift.end());
    zero_.assign(t.zero.begin(), t.zero.end());
}

void IntegerLayer::gather(const Plane& plane, int row, int column, std::int16_t* out) const {
    const std::size_t bytes = static_cast<std::size_t>(inputs_) * sizeof *out;
    for (const Tap& tap : taps_) {
        const int r = row + tap.row, c = column + tap.column;
        if (r < 0 || r >= plane.height || c < 0 || c >= plane.width)
            std::memset(out, 0, bytes);
        else
            std::memcpy(out, plane.at(r, c), bytes);
        out += inputs_;
    }
    const int used = static_cast<int>(taps_.size()) * inputs_;
    std::memset(out, 0, static_cast<std::size_t>(depth_ - used) * sizeof *out);
}

template <typename Out>
void IntegerLayer::apply(const std::int16_t* in, int in_stride, int positions, std::int32_t* sums, Out* out, int out_stride) const {
    dot_(in, in_stride, positions, weight_.data(), outputs_, depth_, sums);
    for (int p = 0; p < positions; ++p) {
        const std::int32_t* s = sums + static_cast<std::ptrdiff_t>(p) * outputs_;
        Out* to = out + static_cast<std::ptrdiff_t>(p) * out_stride;
        for (int o = 0; o < outputs_; ++o) {
            const auto i = static_cast<std::size_t>(o);
            const std::int32_t sum = s[o] + bias_[i];
            const std::int64_t scaled = std::int64_t{sum} * (sum < 0 ? mul_neg_[i] : mul_pos_[i]);
            const std::int64_t rounded = ((scaled + (std::int64_t{1} << (shift_[i] - 1))) >> shift_[i]) + zero_[i];
            to[o] = static_cast<Out>(std::clamp<std::int64_t>(rounded, -out_limit_, out_limit_));
        }
    }
}

template void IntegerLayer::apply(const std::int16_t*, int, int, std::int32_t*, std::int16_t*, int) const;
template void IntegerLayer::apply(const std::int16_t*, int, int, std::int32_t*, std::int32_t*, int) const;

IntegerLayer dense_layer(const LayerTensors& t, std::int32_t in_limit, std::int32_t out_limit, DotI16 dot) {
    if (t.kernel != 1) bad(t, "is not 1x1");
    return conv_layer(t, in_limit, out_limit, dot);
}

IntegerLayer conv_layer(const LayerTensors& t, std::int32_t in_limit, std::int32_t out_limit, DotI16 dot) {
    std::vector<Tap> taps;
    std::vector<int> cells;
    if (t.kernel % 2 == 0) bad(t, "has an even kernel");
    for (int cell = 0; cell < t.kernel * t.kernel; ++cell) {
        taps.push_back({cell / t.kernel - t.kernel / 2, cell % t.kernel - t.kernel / 2});
        cells.push_back(cell);
    }
    return {t, std::move(taps), cells, in_limit, out_limit, dot};
}

IntegerLayer masked_layer(const LayerTensors& t, std::int32_t in_limit, std::int32_t out_limit, DotI16 dot) {
    std::vector<Tap> taps;
    std::vector<int> cells;
    if (t.kernel % 2 == 0 || t.kernel < 3) bad(t, "has an even kernel or one below 3");
    for (int cell = 0; cell < t.kernel * t.kernel / 2; ++cell) {
        taps.push_back({cell / t.kernel - t.kernel / 2, cell % t.kernel - t.kernel / 2});
        cells.push_back(cell);
    }
    return {t, std::move(taps), cells, in_limit, out_limit, dot};
}

TransposedLayer::TransposedLayer(const LayerTensors& t, std::int32_t in_limit, std::int32_t out_limit, DotI16 dot) {
    if (t.kernel != 5) bad(t, "is not 5x5");
    // Output row y takes input row i through kernel row k = y + 2 - 2i: even y = 2r takes i = r+1, r, r-1 through
    // k = 0, 2, 4, odd y = 2r+1 takes i = r+1, r through k = 1, 3. Columns alike.
    for (int phase = 0; phase < 4; ++phase) {
        std::vector<Tap> taps;
        std::vector<int> cells;
        for (int ky = phase / 2; ky < 5; ky += 2)
            for (int kx = phase % 2; kx < 5; kx += 2) {
                taps.push_back({1 - ky / 2, 1 - kx / 2});
                cells.push_back(ky * 5 + kx);
            }
        phases_.emplace_back(t, std::move(taps), cells, in_limit, out_limit, dot);
    }
}

Plane TransposedLayer::apply(const Plane& in, int height, int width, ThreadTeam& team) const {
    Plane out(height, width, outputs());
    const ThreadTeam::Job job = [&](int y, int) {
        std::vector<std::int16_t> gathered(static_cast<std::size_t>(kBlock * phases_[0].depth()));
        std::vector<std::int32_t> sums(static_cast<std::size_t>(kBlock * outputs()));
        for (int b = 0; b < 2; ++b) {
            const IntegerLayer& phase = phases_[static_cast<std::size_t>(y % 2 * 2 + b)];
            for (int x = b; x < width; x += 2 * kBlock) {
                const int n = std::min(kBlock, (width - x + 1) / 2);
                for (int p = 0; p < n; ++p)
                    phase.gather(in, y / 2, x / 2 + p, gathered.data() + static_cast<std::ptrdiff_t>(p) * phase.depth());
                phase.apply(gathered.data(), phase.depth(), n, sums.data(), out.at(y, x), 2 * outputs());
            }
        }
    };
    team.run(height, job);
    return out;
}

}  // namespace jahp
