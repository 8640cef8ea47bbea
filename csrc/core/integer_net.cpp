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

int round_up(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }

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
                           std::int32_t out_limit, Isa isa)
    : inputs_(t.inputs), outputs_(t.outputs), out_limit_(out_limit), taps_(std::move(taps)), dot_i16_(dot_i16_for(isa)),
      dot_i8_(in_limit <= 127 ? dot_i8_for(isa) : nullptr), requantise_(requantise_for(isa)) {
    check_tensors(t);
    depth_ = round_up(static_cast<int>(taps_.size()) * inputs_, kDotDepthMultiple);
    padded_outputs_ = round_up(outputs_, kDotI8Outputs);
    const auto fill = [this](std::vector<std::int32_t>& to, std::span<const std::int32_t> from, std::int32_t rest) {
        to.assign(from.begin(), from.end());
        to.resize(static_cast<std::size_t>(padded_outputs_), rest);
    };
    fill(bias_, t.bias, 0);
    fill(mul_pos_, t.mul_pos, 0);
    fill(mul_neg_, t.mul_neg, 0);
    fill(shift_, t.shift, 1);
    fill(zero_, t.zero, 0);
    pack(t, cells, in_limit);
}

void IntegerLayer::pack(const LayerTensors& t, std::span<const int> cells, std::int32_t in_limit) {
    if (dot_i8_ != nullptr)
        weight_i8_.resize(static_cast<std::size_t>(padded_outputs_) * static_cast<std::size_t>(depth_));
    else
        weight_i16_.resize(static_cast<std::size_t>(outputs_) * static_cast<std::size_t>(depth_));
    const auto area = static_cast<std::size_t>(t.kernel * t.kernel);
    for (int o = 0; o < outputs_; ++o) {
        std::int64_t reach = std::abs(std::int64_t{t.bias[static_cast<std::size_t>(o)]}), total = 0;
        for (std::size_t tap = 0; tap < taps_.size(); ++tap)
            for (int i = 0; i < inputs_; ++i) {
                const std::size_t from = static_cast<std::size_t>(o * inputs_ + i) * area;
                const std::int8_t w = t.weight[from + static_cast<std::size_t>(cells[tap])];
                const int k = static_cast<int>(tap) * inputs_ + i;
                if (dot_i8_ != nullptr)
                    weight_i8_[dot_i8_offset(o, k, depth_)] = w;
                else
                    weight_i16_[static_cast<std::size_t>(o) * static_cast<std::size_t>(depth_) + static_cast<std::size_t>(k)] = w;
                reach += std::int64_t{std::abs(w)} * in_limit;
                total += w;
            }
        if (reach >= std::int64_t{1} << 31) bad(t, "output " + std::to_string(o) + " could overflow 32 bits");
        // dot_i8 reads activations plus 128. The sum with that offset and this bias are each only right modulo 2^32, and
        // so is their addition; the total is in range.
        if (dot_i8_ != nullptr) {
            std::int32_t& bias = bias_[static_cast<std::size_t>(o)];
            bias = static_cast<std::int32_t>(static_cast<std::uint32_t>(bias) - static_cast<std::uint32_t>(128 * total));
        }
    }
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

void IntegerLayer::products(const std::int16_t* in, int in_stride, int positions, LayerScratch& scratch) const {
    const std::size_t sums = static_cast<std::size_t>((positions + 1) * padded_outputs_);  // requantisation reads a little further
    if (scratch.sums.size() < sums) scratch.sums.resize(sums);
    if (dot_i8_ == nullptr) {
        dot_i16_(in, in_stride, positions, weight_i16_.data(), outputs_, depth_, scratch.sums.data());
        return;
    }
    const std::size_t bytes = static_cast<std::size_t>(positions) * static_cast<std::size_t>(depth_);
    if (scratch.bytes.size() < bytes) scratch.bytes.resize(bytes);
    std::uint8_t* to = scratch.bytes.data();
    for (int p = 0; p < positions; ++p, to += depth_) {
        const std::int16_t* from = in + static_cast<std::ptrdiff_t>(p) * in_stride;
        for (int k = 0; k < depth_; ++k) to[k] = static_cast<std::uint8_t>(from[k] + 128);
    }
    dot_i8_(scratch.bytes.data(), positions, weight_i8_.data(), padded_outputs_ / kDotI8Outputs, depth_, scratch.sums.data(), padded_outputs_);
}

template <typename Out>
void IntegerLayer::apply(const std::int16_t* in, int in_stride, int positions, LayerScratch& scratch, Out* out, int out_stride) const {
    products(in, in_stride, positions, scratch);
    const int stride = dot_i8_ == nullptr ? outputs_ : padded_outputs_;
    const RequantTable table{bias_.data(), mul_pos_.data(), mul_neg_.data(), shift_.data(), zero_.data(), out_limit_};
    for (int p = 0; p < positions; ++p) {
        const std::int32_t* sums = scratch.sums.data() + static_cast<std::ptrdiff_t>(p) * stride;
        Out* to = out + static_cast<std::ptrdiff_t>(p) * out_stride;
        if constexpr (sizeof(Out) == 2)
            requantise_.to_i16(sums, table, outputs_, to);
        else
            requantise_.to_i32(sums, table, outputs_, to);
    }
}

template void IntegerLayer::apply(const std::int16_t*, int, int, LayerScratch&, std::int16_t*, int) const;
template void IntegerLayer::apply(const std::int16_t*, int, int, LayerScratch&, std::int32_t*, int) const;

IntegerLayer dense_layer(const LayerTensors& t, std::int32_t in_limit, std::int32_t out_limit, Isa isa) {
    if (t.kernel != 1) bad(t, "is not 1x1");
    return conv_layer(t, in_limit, out_limit, isa);
}

IntegerLayer conv_layer(const LayerTensors& t, std::int32_t in_limit, std::int32_t out_limit, Isa isa) {
    std::vector<Tap> taps;
    std::vector<int> cells;
    if (t.kernel % 2 == 0) bad(t, "has an even kernel");
    for (int cell = 0; cell < t.kernel * t.kernel; ++cell) {
        taps.push_back({cell / t.kernel - t.kernel / 2, cell % t.kernel - t.kernel / 2});
        cells.push_back(cell);
    }
    return {t, std::move(taps), cells, in_limit, out_limit, isa};
}

IntegerLayer masked_layer(const LayerTensors& t, std::int32_t in_limit, std::int32_t out_limit, Isa isa) {
    std::vector<Tap> taps;
    std::vector<int> cells;
    if (t.kernel % 2 == 0 || t.kernel < 3) bad(t, "has an even kernel or one below 3");
    for (int cell = 0; cell < t.kernel * t.kernel / 2; ++cell) {
        taps.push_back({cell / t.kernel - t.kernel / 2, cell % t.kernel - t.kernel / 2});
        cells.push_back(cell);
    }
    return {t, std::move(taps), cells, in_limit, out_limit, isa};
}

TransposedLayer::TransposedLayer(const LayerTensors& t, std::int32_t in_limit, std::int32_t out_limit, Isa isa) {
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
        phases_.emplace_back(t, std::move(taps), cells, in_limit, out_limit, isa);
    }
}

Plane TransposedLayer::apply(const Plane& in, int height, int width, ThreadTeam& team) const {
    Plane out(height, width, outputs());
    std::vector<LayerScratch> scratches(static_cast<std::size_t>(team.size()));
    const ThreadTeam::Job job = [&](int y, int thread) {
        LayerScratch& scratch = scratches[static_cast<std::size_t>(thread)];
        scratch.gathered.resize(static_cast<std::size_t>(kBlock * phases_[0].depth()));
        for (int b = 0; b < 2; ++b) {
            const IntegerLayer& phase = phases_[static_cast<std::size_t>(y % 2 * 2 + b)];
            for (int x = b; x < width; x += 2 * kBlock) {
                const int n = std::min(kBlock, (width - x + 1) / 2);
                for (int p = 0; p < n; ++p)
                    phase.gather(in, y / 2, x / 2 + p, scratch.gathered.data() + static_cast<std::ptrdiff_t>(p) * phase.depth());
                phase.apply(scratch.gathered.data(), phase.depth(), n, scratch, out.at(y, x), 2 * outputs());
            }
        }
    };
    team.run(height, job);
    return out;
}

}  // namespace jahp
