// SPDX-License-Identifier: Apache-2.0
#include "core/integer_net.hpp"

#include <algorithm>
#include <cstdlib>

#include "core/error.hpp"

namespace jahp {
namespace {

constexpr int kBlocksAtOnce = 4;  // of outputs: what a kernel's tile may hold
constexpr int kPositions = 48;    // sums of so many positions stay in the first-level cache
constexpr int kStripRows = 4;     // rows that see a layer's weights pass once

[[noreturn]] void bad(const LayerTensors& t, const std::string& what) {
    throw Error(Fault::model, t.name + ": " + what);
}

int round_up(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }

void check_tensors(const LayerTensors& t) {
    if (t.outputs < 1 || t.inputs < 1 || t.kernel < 1 || t.kernel > 15) bad(t, "has an impossible shape");
    const auto n = static_cast<std::size_t>(t.outputs);
    if (t.weight.size() != n * static_cast<std::size_t>(t.inputs) * static_cast<std::size_t>(t.kernel * t.kernel))
        bad(t, "weight has the wrong number of elements");
    if (t.bias.size() != n || t.mul_pos.size() != n || t.mul_neg.size() != n || t.shift.size() != n ||
        t.zero.size() != n)
        bad(t, "bias, mul_pos, mul_neg, shift and zero must have one element an output");
    for (std::size_t o = 0; o < n; ++o) {
        if (t.shift[o] < 1 || t.shift[o] > 62) bad(t, "shift is not in 1..62");
        if (t.mul_pos[o] < 0 || t.mul_neg[o] < 0) bad(t, "multiplier is negative");
        if (t.zero[o] < -4095 || t.zero[o] > 4095) bad(t, "zero is not in -4095..4095");
    }
    if (std::any_of(t.weight.begin(), t.weight.end(), [](std::int8_t w) { return w == -128; }))
        bad(t, "weight of -128");
}

std::size_t weight_index(const LayerTensors& t, int output, int input, int cell) {
    return static_cast<std::size_t>(output * t.inputs + input) * static_cast<std::size_t>(t.kernel * t.kernel) +
           static_cast<std::size_t>(cell);
}

// The largest |sum| that inputs up to in_limit can give output o, over the taps in use.
std::int64_t reach(const LayerTensors& t, const std::vector<LayerPart>& parts, int o, std::int32_t in_limit) {
    std::int64_t sum = std::abs(std::int64_t{t.bias[static_cast<std::size_t>(o)]});
    for (const LayerPart& part : parts)
        for (const Tap& tap : part.taps)
            for (int i = part.first_input; i < part.first_input + part.inputs; ++i)
                sum += std::int64_t{std::abs(t.weight[weight_index(t, o, i, tap.cell)])} * in_limit;
    return sum;
}

std::vector<Tap> kernel_taps(const LayerTensors& t, int cells) {
    std::vector<Tap> taps;
    for (int cell = 0; cell < cells; ++cell)
        taps.push_back({cell / t.kernel - t.kernel / 2, cell % t.kernel - t.kernel / 2, cell});
    return taps;
}

}  // namespace

IntegerLayer::IntegerLayer(const LayerTensors& t, std::vector<LayerPart> parts, std::int32_t in_limit,
                           std::int32_t out_limit, Isa isa, BlockOrder order)
    : inputs_(t.inputs), outputs_(t.outputs), out_limit_(out_limit), order_(order),
      kernel_(dot_kernel_for(isa, in_limit)) {
    check_tensors(t);
    if (order == BlockOrder::halves && outputs_ % 2 != 0) bad(t, "has an odd number of outputs");
    blocks_ = order == BlockOrder::plain ? round_up(outputs_, kDotOutputs) / kDotOutputs
                                         : 2 * (round_up(outputs_ / 2, kDotOutputs) / kDotOutputs);
    bool narrow = true;
    for (int o = 0; o < outputs_; ++o) {
        const auto i = static_cast<std::size_t>(o);
        const std::int64_t most = reach(t, parts, o, in_limit);
        if (most >= std::int64_t{1} << 31) bad(t, "output " + std::to_string(o) + " could overflow 32 bits");
        const std::int64_t scaled = most * std::max(t.mul_pos[i], t.mul_neg[i]) + (std::int64_t{1} << (t.shift[i] - 1));
        narrow = narrow && (scaled >> t.shift[i]) + 4096 < std::int64_t{1} << 31;
    }
    requantise_ = requantise_for(isa, narrow);
    const auto fill = [&](std::vector<std::int32_t>& to, std::span<const std::int32_t> from, std::int32_t rest) {
        to.assign(static_cast<std::size_t>(pitch()), rest);
        for (int o = 0; o < outputs_; ++o) to[static_cast<std::size_t>(slot(o))] = from[static_cast<std::size_t>(o)];
    };
    fill(bias_, t.bias, 0);
    fill(mul_pos_, t.mul_pos, 0);
    fill(mul_neg_, t.mul_neg, 0);
    fill(shift_, t.shift, 1);  // so that what pads comes out as 0
    fill(zero_, t.zero, 0);
    for (LayerPart& part : parts) {
        const int wide = kDotGroupBytes / (kernel_.bytes ? 1 : 2);
        Packed packed{std::move(part.taps), part.first_input, part.inputs, (part.inputs + wide - 1) / wide, 0, {}};
        pack(t, packed);
        parts_.push_back(std::move(packed));
    }
}

int IntegerLayer::slot(int output) const {
    const int half = order_ == BlockOrder::halves ? outputs_ / 2 : outputs_;
    const int block = output % half / kDotOutputs, inside = output % half % kDotOutputs;
    return (order_ == BlockOrder::halves ? 2 * block + output / half : block) * kDotOutputs + inside;
}

void IntegerLayer::pack(const LayerTensors& t, Packed& part) const {
    const int wide = kDotGroupBytes / (kernel_.bytes ? 1 : 2);
    const auto group_bytes = static_cast<std::size_t>(kDotOutputs * wide),
               groups = part.taps.size() * static_cast<std::size_t>(part.groups_per_tap);
    part.block_stride = static_cast<std::ptrdiff_t>(groups * group_bytes);
    const int bias = kernel_.biased ? 128 : 0;
    part.weight.assign(static_cast<std::size_t>(blocks_) * groups * group_bytes, static_cast<std::uint8_t>(bias));
    for (int o = 0; o < outputs_; ++o) {
        const int at = slot(o);
        for (std::size_t tap = 0; tap < part.taps.size(); ++tap)
            for (int i = 0; i < part.inputs; ++i) {
                const std::size_t group = tap * static_cast<std::size_t>(part.groups_per_tap) +
                                          static_cast<std::size_t>(i / wide);
                const std::size_t to = (static_cast<std::size_t>(at / kDotOutputs) * groups + group) * group_bytes +
                                       static_cast<std::size_t>(at % kDotOutputs * wide + i % wide);
                part.weight[to] = static_cast<std::uint8_t>(
                    t.weight[weight_index(t, o, part.first_input + i, part.taps[tap].cell)] + bias);
            }
    }
}

std::vector<DotGroup> IntegerLayer::groups(int part, int row_pitch, int pitch) const {
    const Packed& p = parts_[static_cast<std::size_t>(part)];
    const int wide = kDotGroupBytes / (kernel_.bytes ? 1 : 2);
    std::vector<DotGroup> out;
    out.reserve(p.taps.size() * static_cast<std::size_t>(p.groups_per_tap));
    for (const Tap& tap : p.taps)
        for (int g = 0; g < p.groups_per_tap; ++g)
            out.push_back({tap.row * row_pitch + tap.column * pitch + g * wide, static_cast<std::int32_t>(out.size())});
    return out;
}

void IntegerLayer::products(int part, DotArguments arguments, int first, int blocks) const {
    const Packed& p = parts_[static_cast<std::size_t>(part)];
    arguments.weight = p.weight.data() + first * p.block_stride;
    arguments.block_stride = p.block_stride;
    arguments.blocks = blocks;
    kernel_.dot(arguments);
}

template <typename Out>
void IntegerLayer::requantise(const std::int32_t* sums, std::ptrdiff_t sums_stride, int positions, int first,
                              int blocks, Out* out, std::ptrdiff_t out_stride) const {
    const RequantTable table{bias_.data(), mul_pos_.data(), mul_neg_.data(), shift_.data(), zero_.data(), out_limit_};
    const int from = first * kDotOutputs;
    if constexpr (sizeof(Out) == 1)
        requantise_.to_i8(sums, sums_stride, positions, table, from, blocks, out, out_stride);
    else if constexpr (sizeof(Out) == 2)
        requantise_.to_i16(sums, sums_stride, positions, table, from, blocks, out, out_stride);
    else
        requantise_.to_i32(sums, sums_stride, positions, table, from, blocks, out, out_stride);
}

template void IntegerLayer::requantise(const std::int32_t*, std::ptrdiff_t, int, int, int, std::int32_t*,
                                       std::ptrdiff_t) const;

void IntegerLayer::activate(const std::int32_t* sums, std::ptrdiff_t sums_stride, int positions, int first, int blocks,
                            void* out, std::ptrdiff_t out_stride) const {
    if (kernel_.bytes)
        requantise(sums, sums_stride, positions, first, blocks, static_cast<std::int8_t*>(out), out_stride);
    else
        requantise(sums, sums_stride, positions, first, blocks, static_cast<std::int16_t*>(out), out_stride);
}

IntegerLayer dense_layer(const LayerTensors& t, std::int32_t in_limit, std::int32_t out_limit, Isa isa,
                         BlockOrder order) {
    if (t.kernel != 1) bad(t, "is not 1x1");
    return conv_layer(t, in_limit, out_limit, isa, order);
}

IntegerLayer conv_layer(const LayerTensors& t, std::int32_t in_limit, std::int32_t out_limit, Isa isa,
                        BlockOrder order) {
    if (t.kernel % 2 == 0) bad(t, "has an even kernel");
    return {t, {{kernel_taps(t, t.kernel * t.kernel), 0, t.inputs}}, in_limit, out_limit, isa, order};
}

IntegerLayer masked_layer(const LayerTensors& t, std::int32_t in_limit, std::int32_t out_limit, Isa isa) {
    if (t.kernel % 2 == 0 || t.kernel < 3) bad(t, "has an even kernel or one below 3");
    std::vector<Tap> taps[2];
    const int slope = t.kernel / 2 + 1;
    for (const Tap& tap : kernel_taps(t, t.kernel * t.kernel / 2))
        taps[-tap.column - slope * tap.row == 1 ? kNewTaps : kOldTaps].push_back(tap);
    return {t,
            {{std::move(taps[kOldTaps]), 0, t.inputs}, {std::move(taps[kNewTaps]), 0, t.inputs}},
            in_limit,
            out_limit,
            isa};
}

std::vector<IntegerLayer> transposed_layers(const LayerTensors& t, std::int32_t in_limit, std::int32_t out_limit,
                                            Isa isa) {
    if (t.kernel != 5) bad(t, "is not 5x5");
    // Output row y takes input row i through kernel row k = y + 2 - 2i: even y = 2r takes i = r+1, r, r-1 through
    // k = 0, 2, 4, odd y = 2r+1 takes i = r+1, r through k = 1, 3. Columns alike.
    std::vector<IntegerLayer> phases;
    for (int phase = 0; phase < 4; ++phase) {
        std::vector<Tap> taps;
        for (int ky = phase / 2; ky < 5; ky += 2)
            for (int kx = phase % 2; kx < 5; kx += 2) taps.push_back({1 - ky / 2, 1 - kx / 2, ky * 5 + kx});
        phases.push_back({t, {{std::move(taps), 0, t.inputs}}, in_limit, out_limit, isa});
    }
    return phases;
}

namespace {

// One layer over the positions of `in` that map to (step * r + a, step * c + b) in these rows of `out`, in strips.
class Sweep {
public:
    Sweep(const IntegerLayer& layer, const Plane& in, Plane& out, RowRange rows, int step, int a, int b)
        : layer_(layer), in_(in), out_(out), step_(step), a_(a), b_(b),
          rows_{(rows.first - a + step - 1) / step, (rows.end - a + step - 1) / step},
          columns_((out.width() - b + step - 1) / step), groups_(layer.groups(0, in.row_pitch(), in.pitch())) {}

    int strips() const {
        const int rows = rows_.end - rows_.first;
        return rows < 1 || columns_ < 1 ? 0 : (rows + kStripRows - 1) / kStripRows;
    }

    struct Scratch {
        AlignedVector<std::int32_t> sums, start;
    };

    void strip(int index, Scratch& s) const {
        const int first = rows_.first + index * kStripRows, last = std::min(rows_.end, first + kStripRows);
        s.sums.resize(static_cast<std::size_t>(kPositions * kBlocksAtOnce * kDotOutputs));
        if (layer_.kernel().biased) starts(first, last, s);
        for (int block = 0; block < layer_.blocks(); block += kBlocksAtOnce) {
            const int blocks = std::min(kBlocksAtOnce, layer_.blocks() - block);
            for (int r = first; r < last; ++r)
                for (int c = 0; c < columns_; c += kPositions) {
                    const int n = std::min(kPositions, columns_ - c);
                    DotArguments arguments{in_.raw(r, c),
                                           in_.pitch(),
                                           n,
                                           groups_.data(),
                                           static_cast<int>(groups_.size()),
                                           nullptr,
                                           0,
                                           0,
                                           nullptr,
                                           s.sums.data(),
                                           kBlocksAtOnce * kDotOutputs,
                                           false};
                    if (layer_.kernel().biased) arguments.start = s.start.data() + (r - first) * columns_ + c;
                    layer_.products(0, arguments, block, blocks);
                    const std::ptrdiff_t inside = block * kDotOutputs * (layer_.kernel().bytes ? 1 : 2);
                    layer_.activate(s.sums.data(), kBlocksAtOnce * kDotOutputs, n, block, blocks,
                                    static_cast<std::uint8_t*>(out_.raw(step_ * r + a_, step_ * c + b_)) + inside,
                                    std::ptrdiff_t{step_} * out_.pitch());
                }
        }
        for (int r = first; r < last; ++r) out_.summarise(step_ * r + a_, b_, step_, columns_, layer_.kernel());
    }

private:
    void starts(int first, int last, Scratch& s) const {
        s.start.assign(static_cast<std::size_t>((last - first) * columns_), 0);
        for (int r = first; r < last; ++r)
            for (const Tap& tap : layer_.taps(0)) {
                std::int32_t* start = s.start.data() + (r - first) * columns_;
                const std::int32_t* sum = &in_.sum(r + tap.row, tap.column);
                for (int c = 0; c < columns_; ++c) start[c] += sum[c];
            }
    }

    const IntegerLayer& layer_;
    const Plane& in_;
    Plane& out_;
    int step_, a_, b_;
    RowRange rows_;
    int columns_;
    std::vector<DotGroup> groups_;
};

void sweep_all(std::span<const Sweep> sweeps, ThreadTeam& team) {
    std::vector<Sweep::Scratch> scratch(static_cast<std::size_t>(team.size()));
    int items = 0;
    for (const Sweep& s : sweeps) items += s.strips();
    const ThreadTeam::Job job = [&](int item, int thread) {
        const Sweep* s = sweeps.data();
        for (; item >= s->strips(); ++s) item -= s->strips();
        s->strip(item, scratch[static_cast<std::size_t>(thread)]);
    };
    team.run(items, job);
}

}  // namespace

void convolve(const IntegerLayer& layer, const Plane& in, Plane& out, RowRange rows, ThreadTeam& team) {
    const Sweep sweep(layer, in, out, rows, 1, 0, 0);
    sweep_all({&sweep, 1}, team);
}

void convolve_transposed(std::span<const IntegerLayer> phases, const Plane& in, Plane& out, RowRange rows,
                         ThreadTeam& team) {
    std::vector<Sweep> sweeps;
    for (int phase = 0; phase < 4; ++phase)
        sweeps.emplace_back(phases[static_cast<std::size_t>(phase)], in, out, rows, 2, phase / 2, phase % 2);
    sweep_all(sweeps, team);
}

}  // namespace jahp
