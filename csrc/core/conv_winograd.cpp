// SPDX-License-Identifier: Apache-2.0
// 5x5 convolutions of stride 2 and their transposes, as four smaller ones each in Winograd's form (simd/winograd.hpp):
// 121 products for a tile of 4x4 (a convolution's outputs, a transposed one's inputs) instead of 400.
#include <algorithm>
#include <array>

#include "core/transform_layer.hpp"
#include "simd/winograd.hpp"

namespace jahp {
namespace {

constexpr int kMostTiles = 48;   // of an item: enough for each weight that is read, few enough for the caches
constexpr int kGoodTiles = 96;
constexpr int kTogether = 16;    // outputs whose weights are packed at a time
constexpr double kPoint[] = {0, 1, -1, 2, -2};

// Tap k of the 3 (2) at each point: G of simd/winograd.hpp.
double to_point(int taps, int point, int k) {
    const int finite = winograd_points(taps) - 1;
    if (point == finite) return k == taps - 1;
    double value = 1;
    for (int i = 0; i < k; ++i) value *= kPoint[point];
    for (int i = 0; i < finite; ++i)
        if (i != point) value /= kPoint[point] - kPoint[i];
    return value;
}

using PointMatrix = std::array<std::array<double, 3>, kWinogradPoints>;

PointMatrix point_matrix(int taps) {
    PointMatrix matrix{};
    for (int p = 0; p < winograd_points(taps); ++p)
        for (int k = 0; k < taps; ++k)
            matrix[static_cast<std::size_t>(p)][static_cast<std::size_t>(k)] = to_point(taps, p, k);
    return matrix;
}

using Together = double[kTogether];

// Each sum of `taps` values `step` apart, times their factors.
void combine(const std::array<double, 3>& factors, int taps, const Together* values, int step, Together& sums) {
    for (int o = 0; o < kTogether; ++o) sums[o] = factors[0] * values[0][o];
    for (int k = 1; k < taps; ++k)
        for (int o = 0; o < kTogether; ++o) sums[o] += factors[static_cast<std::size_t>(k)] * values[k * step][o];
}

// Where a point of a filter stands among the six.
int shared_point(int taps, int point) { return point == winograd_points(taps) - 1 ? kWinogradPoints - 1 : point; }

// An axis of one of the four filters: tap t is the 5-tap kernel's first_tap + tap_step * t, its first input that of the
// tile plus first.
struct Axis {
    int taps, first_tap, tap_step, first;
    int points() const { return winograd_points(taps); }
};
constexpr Axis kConv[] = {{3, 0, 2, -2}, {2, 1, 2, -1}};        // even and odd inputs
constexpr Axis kTransposed[] = {{3, 4, -2, -1}, {2, 3, -2, 0}};  // even and odd outputs

class WinogradConv final : public TransformLayer {
public:
    WinogradConv(const ConvTensors& t, Isa isa, Precision precision)
        : TransformLayer(t.inputs, t.outputs), transposed_(t.transposed), slope_(t.slope),
          in_stride_(RowBuffer::stride_for(t.inputs)), out_stride_(RowBuffer::stride_for(t.outputs)),
          winograd_(winograd_for(isa)), gdn_(t, isa, precision) {
        bias_.assign(static_cast<std::size_t>(out_stride_), 0);
        std::copy(t.bias.begin(), t.bias.end(), bias_.begin());
        for (int f = 0; f < 4; ++f) pack(t, f, isa, precision);
    }

    Traced traced() const override { return gdn_.traced(); }
    int output_size(int size) const override { return transposed_ ? 2 * size : (size - 1) / 2 + 1; }
    int unit_rows() const override { return transposed_ ? 2 * kWinogradTile : kWinogradTile; }
    int first_row(int unit) const override { return unit * in_tile() - (transposed_ ? 1 : 2); }
    int end_row(int unit) const override { return unit * in_tile() + in_tile() + 1; }
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
    int tiles(int width) const { return ((transposed_ ? width : output_size(width)) - 1) / kWinogradTile + 1; }
    const Axis& axis(int odd) const { return transposed_ ? kTransposed[odd] : kConv[odd]; }

    void pack(const ConvTensors& t, int filter, Isa isa, Precision precision) {
        const Axis &v = axis(filter / 2), &h = axis(filter % 2);
        const auto point_size = static_cast<std::size_t>(t.inputs) * static_cast<std::size_t>(t.outputs);
        const int points = v.points() * h.points();
        std::vector<float> weight(point_size * static_cast<std::size_t>(points));
        const PointMatrix down = point_matrix(v.taps), right = point_matrix(h.taps);
        // Some outputs together: a line of the cache is then written once, whole.
        for (int i = 0; i < t.inputs; ++i)
            for (int first = 0; first < t.outputs; first += kTogether) {
                const int n = std::min(kTogether, t.outputs - first);
                Together taps[9] = {}, half[kWinogradPoints][3];
                for (int o = 0; o < n; ++o) {
                    const int channel = first + o;
                    const float* const kernel = t.weight.data() +
                                                25 * static_cast<std::size_t>(transposed_ ? i * t.outputs + channel
                                                                                          : channel * t.inputs + i);
                    for (int k = 0; k < v.taps * h.taps; ++k)
                        taps[k][o] = kernel[(v.first_tap + v.tap_step * (k / h.taps)) * 5 + h.first_tap +
                                            h.tap_step * (k % h.taps)];
                }
                for (int a = 0; a < v.points(); ++a)
                    for (int k = 0; k < h.taps; ++k)
                        combine(down[static_cast<std::size_t>(a)], v.taps, taps + k, h.taps, half[a][k]);
                for (int p = 0; p < points; ++p) {
                    Together sum;
                    combine(right[static_cast<std::size_t>(p % h.points())], h.taps, half[p / h.points()], 1, sum);
                    float* const to = weight.data() + static_cast<std::size_t>(p) * point_size +
                                      static_cast<std::size_t>(i * t.outputs + first);
                    for (int o = 0; o < n; ++o) to[o] = static_cast<float>(sum[o]);
                }
            }
        for (int p = 0; p < points; ++p)
            product_[static_cast<std::size_t>(filter)].emplace_back(
                t.inputs, t.outputs, weight.data() + static_cast<std::size_t>(p) * point_size, isa, precision);
    }

    void compute(const RowBuffer& in, RowBuffer& out, const Tiles& part, LayerScratch& scratch,
                 GainTrace::Level* level) const {
        // A line more between points: else all of them would fall into the same set of the cache.
        const std::ptrdiff_t in_point = part.count() * in_stride_ + 16, out_point = part.count() * out_stride_ + 16;
        float* const v = LayerScratch::grown(scratch.input, static_cast<std::size_t>(36 * in_point));
        float* const m = LayerScratch::grown(scratch.product, static_cast<std::size_t>(36 * out_point));
        for (int filter = 0; filter < 4; ++filter) {
            into(in, part, filter, v, in_point);
            products(part, filter, v, in_point, m, out_point, scratch);
            if (transposed_) out_of(out, part, filter, m, out_point);
        }
        if (!transposed_) out_of(out, part, 0, m, out_point);
        for (int i = part.begin; i < part.end;) {
            const int end = std::min(part.end, (i / part.across + 1) * part.across), wide = unit_rows();
            const int row = part.row(i) * wide, column = part.column(i) * wide,
                      n = std::min(out.width() - column, (end - i) * wide);
            for (int r = row; r < std::min(row + wide, out.height()); ++r)
                gdn_.run(out.row(r) + static_cast<std::ptrdiff_t>(column) * out_stride_, n, scratch, level, r, column);
            i = end;
        }
    }

    void into(const RowBuffer& in, const Tiles& part, int filter, float* v, std::ptrdiff_t point) const {
        const Axis &down = axis(filter / 2), &right = axis(filter % 2);
        const int step = transposed_ ? 1 : 2;
        for (int i = part.begin; i < part.end; ++i) {
            const float* rows[kWinogradPoints];
            const std::ptrdiff_t column = static_cast<std::ptrdiff_t>(part.column(i) * in_tile() + right.first) *
                                          in_stride_;
            for (int r = 0; r < down.points(); ++r)
                rows[r] = in.row_or_zeros(part.row(i) * in_tile() + down.first + r * step) + column;
            winograd_.input({rows, static_cast<std::ptrdiff_t>(step) * in_stride_, down.points(), right.points(),
                             in_stride_, v + static_cast<std::ptrdiff_t>(i - part.begin) * in_stride_, point});
        }
    }

    void products(const Tiles& part, int filter, const float* v, std::ptrdiff_t in_point, float* m,
                  std::ptrdiff_t out_point, LayerScratch& scratch) const {
        const Axis &down = axis(filter / 2), &right = axis(filter % 2);
        for (int p = 0; p < down.points() * right.points(); ++p) {
            const int i = p / right.points(), j = p % right.points();
            const int to = transposed_ ? p : shared_point(down.taps, i) * kWinogradPoints + shared_point(right.taps, j);
            product_[static_cast<std::size_t>(filter)][static_cast<std::size_t>(p)].run(
                v + p * in_point, in_stride_, part.count(), nullptr, m + to * out_point, out_stride_,
                !transposed_ && filter > 0, scratch);
        }
    }

    void out_of(RowBuffer& out, const Tiles& part, int filter, const float* m, std::ptrdiff_t point) const {
        const int step = transposed_ ? 2 : 1, odd_row = filter / 2, odd_column = filter % 2;
        const int points_v = transposed_ ? axis(odd_row).points() : kWinogradPoints,
                  points_h = transposed_ ? axis(odd_column).points() : kWinogradPoints;
        for (int i = part.begin; i < part.end; ++i) {
            const int row = part.row(i) * unit_rows() + odd_row, column = part.column(i) * unit_rows() + odd_column;
            float* rows[kWinogradTile];
            int valid = 0;
            for (; valid < kWinogradTile && row + valid * step < out.height(); ++valid)
                rows[valid] = out.row(row + valid * step) + static_cast<std::ptrdiff_t>(column) * out_stride_;
            winograd_.output({m + static_cast<std::ptrdiff_t>(i - part.begin) * out_stride_, point, points_v, points_h,
                              out_stride_, bias_.data(), slope_, rows, static_cast<std::ptrdiff_t>(step) * out_stride_,
                              valid, std::min(kWinogradTile, (out.width() - column - 1) / step + 1)});
        }
    }

    bool transposed_;
    float slope_;
    int in_stride_, out_stride_;
    Winograd winograd_;
    Gdn gdn_;
    AlignedVector<float> bias_;
    std::array<std::vector<Product>, 4> product_;  // filter 2 * (odd row) + odd column, then the points
};

}  // namespace

std::unique_ptr<TransformLayer> make_winograd_conv(const ConvTensors& t, Isa isa, Precision precision) {
    return std::make_unique<WinogradConv>(t, isa, precision);
}

}  // namespace jahp
