// SPDX-License-Identifier: Apache-2.0
// Transposed convolutions with few outputs, as the last of g_s: all 25 products of an input position, one after the
// other, and then the sums of those that meet in an output.
#include <algorithm>
#include <array>

#include "core/transform_layer.hpp"
#include "simd/overlap.hpp"

namespace jahp {
namespace {

constexpr int kColumns = 64;  // of an item of a thread: the products of three rows of them stay in a cache
constexpr int kGoodPositions = 6144;
constexpr int kLeastRows = 8;  // of an item: products of two rows beyond it are computed again
constexpr int kTogether = 8;   // columns whose outputs fill whole blocks

class OverlapConv final : public TransformLayer {
public:
    OverlapConv(const ConvTensors& t, Isa isa)
        : TransformLayer(t, 2 * kTogether, isa), pairs_((t.inputs + 1) / 2),
          blocks_((25 * t.outputs + kMatmulBlock - 1) / kMatmulBlock), matmul_(matmul_i16_for(isa, pairs_)),
          overlap_(overlap_for(isa)), finish_(finish_for(isa)) {
        weight_.assign(static_cast<std::size_t>(2 * pairs_) * static_cast<std::size_t>(wide()), 0);
        auto from = t.weight.begin();
        for (int i = 0; i < t.inputs; ++i)
            for (int o = 0; o < t.outputs; ++o)
                for (int k = 0; k < 25; ++k)
                    weight_[matmul_.pack_index(blocks_, 2 * pairs_, i, k * t.outputs + o)] = *from++;
    }

    int output_size(int size) const override { return 2 * size; }
    int unit_rows() const override { return 2; }
    int first_row(int unit) const override { return unit - 1; }
    int end_row(int unit) const override { return unit + 2; }
    int good_units(int width) const override { return std::clamp(kGoodPositions / width, kLeastRows, 64); }

    void run(const RowBuffer& in, RowBuffer& out, int first, int units, ThreadTeam& team,
             std::vector<LayerScratch>& scratch, GainTrace::Level* level) const override {
        const int pieces = (in.width() + kColumns - 1) / kColumns, most = std::max(1, units / (kLeastRows / 2));
        const int parts = team.size() == 1 ? 1 : std::clamp((4 * team.size() - 1) / pieces + 1, 1, most);
        team.run(pieces * parts, [&](int item, int thread) {
            const int part = item / pieces, column = item % pieces * kColumns;
            const Piece piece{first + units * part / parts, first + units * (part + 1) / parts, column,
                              std::min(kColumns, in.width() - column)};
            LayerScratch& memory = scratch[static_cast<std::size_t>(thread)];
            switch (element()) {
                case Element::u8:
                    return compute(in, out, piece, memory, level, finish_.to_u8);
                case Element::i16:
                    return compute(in, out, piece, memory, level, finish_.to_i16);
                case Element::i32:
                    return compute(in, out, piece, memory, level, finish_.to_i32);
            }
        });
    }

private:
    // Input rows [begin, end), `columns` columns from `column` on.
    struct Piece {
        int begin, end, column, columns;
    };

    int wide() const { return blocks_ * kMatmulBlock; }

    template <typename Out>
    void compute(const RowBuffer& in, RowBuffer& out, const Piece& piece, LayerScratch& memory, GainTrace::Level* level,
                 Finish::To<Out> finish) const {
        const std::ptrdiff_t row_size = (kColumns + 2) * wide();
        const int sums = (piece.columns + kTogether - 1) / kTogether * kTogether * 2 * outputs_;
        std::int32_t* const products = LayerScratch::grown(
            memory.product, static_cast<std::size_t>(3 * row_size + sums + 2 * kOverlapBeyond));
        std::int32_t* const sum = products + 3 * row_size + kOverlapBeyond;
        Out* const values = reinterpret_cast<Out*>(
            LayerScratch::grown(memory.finished, static_cast<std::size_t>(sums) * sizeof(Out)));
        const auto slot = [&](int row) { return products + (row + 3) % 3 * row_size; };
        for (int row = piece.begin - 1; row <= piece.end; ++row) {
            const std::int16_t* const a = in.row_or_zeros(row) + (piece.column - 1) * in.stride();
            matmul_.run(
                {&a, in.stride(), piece.columns + 2, 1, pairs_, weight_.data(), blocks_, nullptr, slot(row), wide()});
            const int m = row - 1;
            for (int p = 0; p < 2 && m >= piece.begin; ++p) {
                // Row 2 m + p takes kernel rows 4, 2, 0 (p = 0) or 3, 1 of the input rows m - 1, m, m + 1 or m, m + 1.
                std::array<const std::int32_t*, 3> rows{};
                for (int t = 0; t < 3 - p; ++t)
                    rows[static_cast<std::size_t>(t)] = slot(m - 1 + p + t) + (4 - p - 2 * t) * 5 * outputs_ + wide();
                overlap_({rows.data(), 3 - p, wide(), piece.columns, outputs_, sum});
                finish(sum, kTogether * 2 * outputs_, sums / (kTogether * 2 * outputs_), kTogether * 2 * outputs_,
                       finisher_.table(), values, kTogether * 2 * outputs_);
                Out* const to = out.row<Out>(2 * m + p) + 2 * piece.column * outputs_;
                std::copy(values, values + 2 * piece.columns * outputs_, to);
                if constexpr (sizeof(Out) == 2)
                    if (gdn_.active()) gdn_.run(to, 2 * piece.columns, memory, level, 2 * m + p, 2 * piece.column);
            }
        }
    }

    int pairs_, blocks_;
    MatmulI16Kernel matmul_;
    Overlap overlap_;
    Finish finish_;
    AlignedVector<std::int16_t> weight_;
};

}  // namespace

std::unique_ptr<TransformLayer> make_overlap_conv(const ConvTensors& t, Isa isa) {
    return std::make_unique<OverlapConv>(t, isa);
}

}  // namespace jahp
