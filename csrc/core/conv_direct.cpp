// SPDX-License-Identifier: Apache-2.0
// Convolutions as they are written: a kernel's row is contiguous in a row of channels-last activations, so that a
// position is a product of a few such pieces with the weights, without a copy. For kernels of 1 and 3, for few
// channels, and for weights that Winograd's form has no room for.
//
// A transposed convolution is one of the input for each of the four places of an output in a square of 2x2: output row
// 2 m + p takes kernel rows 4, 2, 0 (p = 0) or 3, 1 of the input rows m - 1, m, m + 1 or m, m + 1; columns likewise.
#include <algorithm>
#include <cstring>

#include "core/transform_layer.hpp"

namespace jahp {
namespace {

constexpr int kPositions = 96;  // an item of a thread
constexpr int kGoodPositions = 3072;

// Some outputs of a position, from `rows` pieces of the input of `taps` columns each.
struct Part {
    int rows, taps;
    int row, column;  // of the first piece, from the position's own
    int blocks, pairs;
    AlignedVector<std::int16_t> weight;
};

class DirectConv final : public TransformLayer {
public:
    DirectConv(const ConvTensors& t, Isa isa)
        : TransformLayer(t, 1, isa), transposed_(t.transposed), step_(t.transposed ? 1 : t.stride),
          taps_(t.transposed ? 3 : t.kernel), channels_(RowBuffer::stride_for(t.inputs)),
          matmul_(matmul_i16_for(isa, channels_ % 2 == 0 ? channels_ / 2 : 1)), finish_(finish_for(isa)) {
        if (!transposed_)
            conv(t);
        else
            for (int phase = 0; phase < 4; ++phase) deconv(t, phase / 2, phase % 2);
    }

    int output_size(int size) const override { return transposed_ ? 2 * size : (size - 1) / step_ + 1; }
    int unit_rows() const override { return transposed_ ? 2 : 1; }
    int first_row(int unit) const override { return unit * step_ - taps_ / 2; }
    int end_row(int unit) const override { return first_row(unit) + taps_; }
    int good_units(int width) const override {
        const int positions = positions_of(width);
        return std::clamp((kGoodPositions + positions - 1) / positions, 1, 64);
    }

    void run(const RowBuffer& in, RowBuffer& out, int first, int units, ThreadTeam& team,
             std::vector<LayerScratch>& scratch, GainTrace::Level* level) const override {
        switch (element()) {
            case Element::u8:
                return run(in, out, first, units, team, scratch, level, finish_.to_u8);
            case Element::i16:
                return run(in, out, first, units, team, scratch, level, finish_.to_i16);
            case Element::i32:
                return run(in, out, first, units, team, scratch, level, finish_.to_i32);
        }
    }

private:
    int positions_of(int width) const { return transposed_ ? width : output_size(width); }

    Part& add(int rows, int taps, int row, int column, int outputs) {
        Part part{rows, taps, row, column, (outputs + kMatmulBlock - 1) / kMatmulBlock, (taps * channels_ + 1) / 2, {}};
        part.weight.assign(static_cast<std::size_t>(rows) * static_cast<std::size_t>(2 * part.pairs) *
                               static_cast<std::size_t>(part.blocks * kMatmulBlock),
                           0);
        return parts_.emplace_back(std::move(part));
    }

    std::int16_t& weight(Part& part, int row, int tap, int input, int output) const {
        return part.weight[matmul_.pack_index(part.blocks, part.rows * 2 * part.pairs,
                                              row * 2 * part.pairs + tap * channels_ + input, output)];
    }

    void conv(const ConvTensors& t) {
        Part& part = add(taps_, taps_, -(taps_ / 2), -(taps_ / 2), t.outputs);
        auto from = t.weight.begin();
        for (int o = 0; o < t.outputs; ++o)
            for (int i = 0; i < t.inputs; ++i)
                for (int k = 0; k < taps_ * taps_; ++k) weight(part, k / taps_, k % taps_, i, o) = *from++;
    }

    void deconv(const ConvTensors& t, int odd_row, int odd_column) {
        Part& part = add(3 - odd_row, 3 - odd_column, odd_row - 1, odd_column - 1, t.outputs);
        for (int r = 0; r < part.rows; ++r)
            for (int c = 0; c < part.taps; ++c) {
                const int down = odd_row + 2 - 2 * (part.row + r), right = odd_column + 2 - 2 * (part.column + c);
                for (int i = 0; i < t.inputs; ++i)
                    for (int o = 0; o < t.outputs; ++o)
                        weight(part, r, c, i,
                               o) = t.weight[25 * (static_cast<std::size_t>(i) * static_cast<std::size_t>(t.outputs) +
                                                   static_cast<std::size_t>(o)) +
                                             static_cast<std::size_t>(5 * down + right)];
            }
    }

    template <typename Out>
    void run(const RowBuffer& in, RowBuffer& out, int first, int units, ThreadTeam& team,
             std::vector<LayerScratch>& scratch, GainTrace::Level* level, Finish::To<Out> finish) const {
        const int across = positions_of(in.width()), pieces = (across + kPositions - 1) / kPositions;
        team.run(units * pieces, [&](int item, int thread) {
            const int unit = first + item / pieces, column = item % pieces * kPositions,
                      n = std::min(kPositions, across - column);
            LayerScratch& memory = scratch[static_cast<std::size_t>(thread)];
            for (std::size_t i = 0; i < parts_.size(); ++i) {
                const Part& part = parts_[i];
                const int wide = part.blocks * kMatmulBlock;
                const std::int32_t* const sums = products(in, part, unit, column, n, memory);
                if (out.stride() == wide) {
                    const int odd = static_cast<int>(i), each = transposed_ ? 2 : 1;
                    Out* const to = out.row<Out>(each * unit + odd / 2) + (each * column + odd % 2) * wide;
                    finish(sums, wide, n, wide, finisher_.table(), to, each * wide);
                } else {
                    narrowed(out, unit, column, n, wide, sums, memory, finish);
                }
            }
            if (!gdn_.active()) return;
            const int each = transposed_ ? 2 : 1;
            for (int row = each * unit; row < each * (unit + 1); ++row)
                gdn_.run(out.row<std::int16_t>(row) + each * column * out.stride(), each * n, memory, level, row,
                         each * column);
        });
    }

    const std::int32_t* products(const RowBuffer& in, const Part& part, int unit, int column, int n,
                                 LayerScratch& memory) const {
        const int wide = part.blocks * kMatmulBlock;
        const std::int16_t* a[5];
        for (int r = 0; r < part.rows; ++r)
            a[r] = in.row_or_zeros(unit * step_ + part.row + r) + (column * step_ + part.column) * in.stride();
        std::int32_t* const sums = LayerScratch::grown(memory.product, static_cast<std::size_t>(kPositions * wide));
        matmul_.run(
            {a, step_ * in.stride(), n, part.rows, part.pairs, part.weight.data(), part.blocks, nullptr, sums, wide});
        return sums;
    }

    // Outputs of a convolution that lie close.
    template <typename Out>
    void narrowed(RowBuffer& out, int row, int column, int n, int wide, const std::int32_t* sums, LayerScratch& memory,
                  Finish::To<Out> finish) const {
        Out* const values = reinterpret_cast<Out*>(
            LayerScratch::grown(memory.finished, static_cast<std::size_t>(kPositions * wide) * sizeof(Out)));
        finish(sums, wide, n, wide, finisher_.table(), values, wide);
        const Out* from = values;
        Out* to = out.row<Out>(row) + column * outputs_;
        for (int p = 0; p < n; ++p, from += wide, to += outputs_) std::copy(from, from + outputs_, to);
    }

    bool transposed_;
    int step_, taps_, channels_;
    MatmulI16Kernel matmul_;
    Finish finish_;
    std::vector<Part> parts_;
};

}  // namespace

std::unique_ptr<TransformLayer> make_direct_conv(const ConvTensors& t, Isa isa) {
    return std::make_unique<DirectConv>(t, isa);
}

}  // namespace jahp
