// SPDX-License-Identifier: Apache-2.0
// 5x5 convolutions of stride 2 and their transposes, as four smaller ones each in Winograd's form (simd/winograd.hpp):
// 49 products for a tile of 2x2 (a convolution's outputs, a transposed one's inputs) instead of 100.
#include <algorithm>
#include <array>
#include <limits>

#include "core/transform_layer.hpp"
#include "simd/winograd.hpp"

namespace jahp {
namespace {

constexpr int kMostTiles = 24;  // of an item: enough for each weight that is read, few enough for the caches
constexpr int kGoodTiles = 96;
constexpr int kPoints = kWinogradPoints;

// What the seven points have of the five taps of a convolution's kernel: the first three taps of a filter are its even
// ones, the two of the other its odd ones. A transposed one's taps stand the other way round.
constexpr int kTaps[kPoints][5] = {{2, 0, 0, 0, 0}, {1, 0, 1, 0, 1}, {1, 0, -1, 0, 1}, {0, 0, 0, 0, 2},
                                   {0, 1, 0, 0, 0}, {0, 1, 0, 1, 0}, {0, 0, 0, 1, 0}};

using Together = std::int32_t[kMatmulBlock];

// A product of the inputs at some points, one after the other, with their weights.
struct PointProduct {
    std::vector<int> points;  // 7 * that of the rows + that of the columns
    AlignedVector<std::int16_t> weight;
};

// The points of a filter, or of a filter and what adds up with it.
struct Axis {
    int first, count;
};
constexpr Axis kFilters[] = {{0, 4}, {4, 3}};

class WinogradConv final : public TransformLayer {
public:
    // fits: whether the weights are within 16 bits; the layer is of no use otherwise.
    WinogradConv(const ConvTensors& t, Isa isa, bool& fits)
        : TransformLayer(t, 1, isa), transposed_(t.transposed), in_stride_(RowBuffer::stride_for(t.inputs)),
          out_stride_(RowBuffer::stride_for(t.outputs)), blocks_(out_stride_ / kMatmulBlock),
          pairs_((t.inputs + 1) / 2), winograd_(winograd_for(isa)), matmul_(matmul_i16_for(isa, pairs_)) {
        plan();
        fits = pack(t);
    }

    int output_size(int size) const override { return transposed_ ? 2 * size : (size - 1) / 2 + 1; }
    int unit_rows() const override { return transposed_ ? 2 * kWinogradTile : kWinogradTile; }
    int first_row(int unit) const override { return unit * in_tile() - before(); }
    int end_row(int unit) const override { return first_row(unit) + samples(); }
    int good_units(int width) const override {
        return std::clamp((kGoodTiles + tiles(width) - 1) / tiles(width), 1, 64);
    }

    void run(const RowBuffer& in, RowBuffer& out, int first, int units, ThreadTeam& team,
             std::vector<LayerScratch>& scratch, GainTrace::Level* level) const override {
        const int across = tiles(in.width()), all = across * units, rounds = (all - 1) / (team.size() * kMostTiles) + 1;
        const int each = (all - 1) / (team.size() * rounds) + 1;
        team.run((all - 1) / each + 1, [&](int item, int thread) {
            const Tiles part{first, across, item * each, std::min(all, (item + 1) * each)};
            compute(in, out, part, scratch[static_cast<std::size_t>(thread)], level);
        });
    }

private:
    // Tiles [begin, end) of the units from `unit` on, `across` of them a unit.
    struct Tiles {
        int unit, across, begin, end;
        int count() const { return end - begin; }
        int row(int i) const { return unit + i / across; }
        int column(int i) const { return i % across; }
    };

    int in_tile() const { return transposed_ ? kWinogradTile : 2 * kWinogradTile; }
    int before() const { return transposed_ ? 1 : 2; }    // inputs that a tile reads above itself
    int samples() const { return transposed_ ? 4 : 7; }   // inputs that a tile reads along an axis
    int tiles(int width) const { return ((transposed_ ? width : output_size(width)) - 1) / kWinogradTile + 1; }

    // Of a transposed convolution each of the four filters has products of its own, filter by filter; a convolution's
    // are added up where they count alike: points 4, 5, 6 as 0, 1, 3.
    void plan() {
        if (transposed_) {
            for (const Axis& down : kFilters)
                for (const Axis& right : kFilters)
                    for (int i = 0; i < down.count; ++i)
                        for (int j = 0; j < right.count; ++j)
                            products_.push_back({{kPoints * (down.first + i) + right.first + j}, {}});
            return;
        }
        const std::vector<int> alike[] = {{0, 4}, {1, 5}, {2}, {3, 6}};
        for (const auto& down : alike)
            for (const auto& right : alike) {
                std::vector<int> points;
                for (const int i : down)
                    for (const int j : right) points.push_back(kPoints * i + j);
                products_.push_back({std::move(points), {}});
            }
    }

    bool pack(const ConvTensors& t) {
        struct Place {
            PointProduct* product;
            int segment;
        };
        std::array<Place, kPoints * kPoints> places{};
        for (PointProduct& product : products_) {
            product.weight.assign(
                product.points.size() * static_cast<std::size_t>(2 * pairs_) * static_cast<std::size_t>(out_stride_),
                0);
            for (std::size_t s = 0; s < product.points.size(); ++s)
                places[static_cast<std::size_t>(product.points[s])] = {&product, static_cast<int>(s)};
        }
        const int more = transposed_ ? 1 : 2;  // where a convolution's filter of two taps adds up with that of three
        for (int i = 0; i < t.inputs; ++i)
            for (int first = 0; first < t.outputs; first += kMatmulBlock) {
                const int n = std::min(kMatmulBlock, t.outputs - first);
                Together taps[25] = {}, half[kPoints][5];
                for (int o = 0; o < n; ++o) {
                    const std::int16_t* const kernel = t.weight.data() + 25 * (transposed_
                                                                                   ? index(i, t.outputs, first + o)
                                                                                   : index(first + o, t.inputs, i));
                    for (int k = 0; k < 25; ++k) taps[transposed_ ? 24 - k : k][o] = kernel[k];
                }
                for (int p = 0; p < kPoints; ++p)
                    for (int k = 0; k < 5; ++k) combine(p, taps + k, 5, more, half[p][k]);
                for (int p = 0; p < kPoints * kPoints; ++p) {
                    Together sum;
                    combine(p % kPoints, half[p / kPoints], 1, more, sum);
                    const auto [product, segment] = places[static_cast<std::size_t>(p)];
                    std::int16_t* const to = product->weight.data() +
                                             matmul_.pack_index(blocks_,
                                                                static_cast<int>(product->points.size()) * 2 * pairs_,
                                                                segment * 2 * pairs_ + i, first);
                    for (int o = 0; o < kMatmulBlock; ++o) {
                        to[matmul_.group * o] = static_cast<std::int16_t>(sum[o]);
                        if (to[matmul_.group * o] != sum[o]) return false;
                    }
                }
            }
        return true;
    }

    static std::size_t index(int a, int count, int b) {
        return static_cast<std::size_t>(a) * static_cast<std::size_t>(count) + static_cast<std::size_t>(b);
    }

    // What a point has of five values `step` apart.
    static void combine(int point, const Together* values, int step, int more, Together& sum) {
        for (int o = 0; o < kMatmulBlock; ++o) sum[o] = 0;
        for (int k = 0; k < 5; ++k) {
            const int factor = kTaps[point][k] * (point < 4 ? 1 : more);
            if (factor == 0) continue;
            for (int o = 0; o < kMatmulBlock; ++o) sum[o] += factor * values[k * step][o];
        }
    }

    void compute(const RowBuffer& in, RowBuffer& out, const Tiles& part, LayerScratch& scratch,
                 GainTrace::Level* level) const {
        const std::ptrdiff_t in_point = part.count() * in_stride_ + 32, out_point = part.count() * out_stride_ + 16;
        std::int16_t* const v = LayerScratch::grown(scratch.input,
                                                    static_cast<std::size_t>(kPoints * kPoints * in_point));
        std::int32_t* const m = LayerScratch::grown(scratch.product, static_cast<std::size_t>(16 * out_point));
        into(in, part, v, in_point);
        std::size_t next = 0;
        for (int filter = 0; filter < (transposed_ ? 4 : 1); ++filter) {
            const int down = kFilters[filter / 2].count, right = kFilters[filter % 2].count;
            for (int p = 0; p < down * right; ++p) product(products_[next++], part, v, in_point, m + p * out_point);
            if (element() == Element::i16)
                out_of(out, part, filter, m, out_point, winograd_.output_i16);
            else
                out_of(out, part, filter, m, out_point, winograd_.output_i32);
        }
        if (!gdn_.active()) return;
        for (int i = part.begin; i < part.end;) {
            const int end = std::min(part.end, (i / part.across + 1) * part.across), wide = unit_rows();
            const int row = part.row(i) * wide, column = part.column(i) * wide,
                      n = std::min(out.width() - column, (end - i) * wide);
            for (int r = row; r < std::min(row + wide, out.height()); ++r)
                gdn_.run(out.row<std::int16_t>(r) + static_cast<std::ptrdiff_t>(column) * out_stride_, n, scratch,
                         level, r, column);
            i = end;
        }
    }

    void into(const RowBuffer& in, const Tiles& part, std::int16_t* v, std::ptrdiff_t point) const {
        for (int i = part.begin; i < part.end; ++i) {
            const std::int16_t* rows[7];
            const std::ptrdiff_t column = static_cast<std::ptrdiff_t>(part.column(i) * in_tile() - before()) *
                                          in_stride_;
            for (int r = 0; r < samples(); ++r) rows[r] = in.row_or_zeros(first_row(part.row(i)) + r) + column;
            winograd_.input({rows, in_stride_, samples(), in_stride_,
                             v + static_cast<std::ptrdiff_t>(i - part.begin) * in_stride_, point});
        }
    }

    void product(const PointProduct& p, const Tiles& part, const std::int16_t* v, std::ptrdiff_t point,
                 std::int32_t* m) const {
        const std::int16_t* a[4];
        for (std::size_t s = 0; s < p.points.size(); ++s) a[s] = v + p.points[s] * point;
        matmul_.run({a, in_stride_, part.count(), static_cast<int>(p.points.size()), pairs_, p.weight.data(), blocks_,
                     nullptr, m, out_stride_});
    }

    template <typename Out>
    void out_of(RowBuffer& out, const Tiles& part, int filter, const std::int32_t* m, std::ptrdiff_t point,
                void (*output)(const WinogradOutput<Out>&)) const {
        const int step = transposed_ ? 2 : 1, odd_row = filter / 2, odd_column = filter % 2;
        for (int i = part.begin; i < part.end; ++i) {
            const int row = part.row(i) * unit_rows() + odd_row, column = part.column(i) * unit_rows() + odd_column;
            Out* rows[kWinogradTile];
            int valid = 0;
            for (; valid < kWinogradTile && row + valid * step < out.height(); ++valid)
                rows[valid] = out.row<Out>(row + valid * step) + static_cast<std::ptrdiff_t>(column) * out_stride_;
            output({m + static_cast<std::ptrdiff_t>(i - part.begin) * out_stride_, point, kFilters[odd_row].count,
                    kFilters[odd_column].count, out_stride_, &finisher_.table(), rows,
                    static_cast<std::ptrdiff_t>(step) * out_stride_, valid,
                    std::min(kWinogradTile, (out.width() - column - 1) / step + 1)});
        }
    }

    bool transposed_;
    int in_stride_, out_stride_, blocks_, pairs_;
    Winograd winograd_;
    MatmulI16Kernel matmul_;
    std::vector<PointProduct> products_;
};

}  // namespace

std::unique_ptr<TransformLayer> make_winograd_conv(const ConvTensors& t, Isa isa) {
    bool fits = false;
    auto layer = std::make_unique<WinogradConv>(t, isa, fits);
    return fits ? std::move(layer) : nullptr;
}

}  // namespace jahp
