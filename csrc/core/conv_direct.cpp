// SPDX-License-Identifier: Apache-2.0
// Convolutions as they are written: a kernel's row is contiguous in a row of channels-last activations, so that a
// position is a product of `kernel` such pieces with the weights, without a copy. For kernels of 1 and 3, and for few
// channels; and the sums of make_overlap_add.
#include <algorithm>

#include "core/transform_layer.hpp"

namespace jahp {
namespace {

constexpr int kPositions = 48;  // an item of a thread
constexpr int kGoodPositions = 3072;

int good_rows(int width) { return std::clamp((kGoodPositions + width - 1) / width, 1, 64); }

class DirectConv final : public TransformLayer {
public:
    DirectConv(const ConvTensors& t, Isa isa)
        : TransformLayer(t.inputs, t.outputs), kernel_(t.kernel), stride_(t.stride), slope_(t.slope),
          depth_(t.kernel * RowBuffer::stride_for(t.inputs)), blocks_((t.outputs + kMatmulBlock - 1) / kMatmulBlock),
          matmul_(matmul_f32_for(isa)), gdn_(t, isa) {
        const int channels = RowBuffer::stride_for(t.inputs), all = kernel_ * depth_;
        weight_.assign(static_cast<std::size_t>(all) * static_cast<std::size_t>(blocks_ * kMatmulBlock), 0);
        bias_.assign(static_cast<std::size_t>(blocks_ * kMatmulBlock), 0);
        std::copy(t.bias.begin(), t.bias.end(), bias_.begin());
        auto from = t.weight.begin();
        for (int o = 0; o < t.outputs; ++o)
            for (int i = 0; i < t.inputs; ++i)
                for (int k = 0; k < kernel_ * kernel_; ++k)
                    weight_[matmul_.pack_index(blocks_, all, k * channels + i, o)] = *from++;
    }

    Traced traced() const override { return gdn_.traced(); }
    int output_size(int size) const override { return (size - 1) / stride_ + 1; }
    int unit_rows() const override { return 1; }
    int first_row(int unit) const override { return unit * stride_ - kernel_ / 2; }
    int end_row(int unit) const override { return first_row(unit) + kernel_; }
    int good_units(int width) const override { return good_rows(output_size(width)); }

    void run(const RowBuffer& in, RowBuffer& out, int first, int units, ThreadTeam& team,
             std::vector<LayerScratch>& scratch, GainTrace::Level* level) const override {
        const int pieces = (out.width() + kPositions - 1) / kPositions;
        team.run(units * pieces, [&](int item, int thread) {
            const int row = first + item / pieces, column = item % pieces * kPositions,
                      n = std::min(kPositions, out.width() - column);
            LayerScratch& memory = scratch[static_cast<std::size_t>(thread)];
            const float* a[5];
            for (int k = 0; k < kernel_; ++k)
                a[k] = in.row_or_zeros(first_row(row) + k) + (column * stride_ - kernel_ / 2) * in.stride();
            float* const to = out.row(row) + column * out.stride();
            const int wide = blocks_ * kMatmulBlock;
            const bool direct = out.stride() == wide;
            float* const c = direct ? to
                                    : LayerScratch::grown(memory.product, static_cast<std::size_t>(kPositions * wide));
            matmul_.run(
                {a, stride_ * in.stride(), n, kernel_, depth_, weight_.data(), blocks_, bias_.data(), c, wide, false});
            if (slope_ != 1)
                for (int i = 0; i < n * wide; ++i) c[i] = c[i] > 0 ? c[i] : c[i] * slope_;
            for (int p = 0; p < n && !direct; ++p)
                std::copy(c + p * wide, c + p * wide + out.stride(), to + p * out.stride());
            gdn_.run(to, n, memory, level, row, column);
        });
    }

private:
    int kernel_, stride_;
    float slope_;
    int depth_, blocks_;
    MatmulF32Kernel matmul_;
    Gdn gdn_;
    AlignedVector<float> weight_, bias_;
};

// Output row 2 m + p takes kernel rows 4, 2, 0 (p = 0) or 3, 1 of the input rows m - 1, m, m + 1 or m, m + 1; columns
// likewise.
class OverlapAdd final : public TransformLayer {
public:
    OverlapAdd(const ConvTensors& t, Isa isa)
        : TransformLayer(25 * t.outputs, t.outputs), slope_(t.slope), bias_(t.bias.begin(), t.bias.end()),
          gdn_(t, isa) {
        bias_.insert(bias_.end(), t.bias.begin(), t.bias.end());
    }

    Traced traced() const override { return gdn_.traced(); }
    int output_size(int size) const override { return 2 * size; }
    int unit_rows() const override { return 2; }
    int first_row(int unit) const override { return unit - 1; }
    int end_row(int unit) const override { return unit + 2; }
    int good_units(int width) const override { return good_rows(width); }

    void run(const RowBuffer& in, RowBuffer& out, int first, int units, ThreadTeam& team,
             std::vector<LayerScratch>& scratch, GainTrace::Level* level) const override {
        const int pieces = (in.width() + kPositions - 1) / kPositions;
        team.run(units * pieces, [&](int item, int thread) {
            const int m = first + item / pieces, column = item % pieces * kPositions,
                      n = std::min(kPositions, in.width() - column);
            for (int p = 0; p < 2; ++p) {
                float* const to = out.row(2 * m + p) + 2 * column * out.stride();
                outputs() == 3 ? sums<3>(in, m, p, column, n, to, out.stride())
                               : sums<0>(in, m, p, column, n, to, out.stride());
                gdn_.run(to, 2 * n, scratch[static_cast<std::size_t>(thread)], level, 2 * m + p, 2 * column);
            }
        });
    }

private:
    // Outputs 2 j and 2 j + 1 take the products of kernel columns 0 and 1 of input j + 1, 2 and 3 of input j, and 4 of
    // input j - 1, which lie beside one another. kOutputs: outputs(), where the compiler is to know it.
    template <int kOutputs>
    static constexpr int kGroup = kOutputs > 0 ? kOutputs : 1;

    template <int kOutputs>
    void sums(const RowBuffer& in, int m, int p, int column, int n, float* to, std::ptrdiff_t stride) const {
        const int c = kOutputs > 0 ? kOutputs : outputs();
        const std::ptrdiff_t step = in.stride();
        const float* rows[3];
        const int taps = 3 - p;
        for (int t = 0; t < taps; ++t)
            rows[t] = in.row_or_zeros(m + 1 - (4 - p - 2 * t) / 2) + column * step + (4 - p - 2 * t) * 5 * c;
        for (int j = 0; j < n; ++j, to += 2 * stride)
            for (int first = 0; first < 2 * c; first += 2 * kGroup<kOutputs>) {
                float sum[2 * kGroup<kOutputs>];
                for (int o = 0; o < 2 * kGroup<kOutputs>; ++o) sum[o] = bias_[static_cast<std::size_t>(first + o)];
                for (int t = 0; t < taps; ++t) {
                    const float* const at = rows[t] + j * step + first;
                    for (int o = 0; o < 2 * kGroup<kOutputs>; ++o) sum[o] += at[step + o];
                    for (int o = 0; o < 2 * kGroup<kOutputs>; ++o) sum[o] += at[2 * c + o];
                    for (int o = 0; o < (kOutputs > 0 ? kOutputs : std::min(2, c - first)); ++o)
                        sum[o] += at[4 * c - step + o];
                }
                for (int o = 0; o < 2 * kGroup<kOutputs>; ++o) {
                    const int channel = first + o;
                    to[channel < c ? channel : stride - c + channel] = sum[o] > 0 ? sum[o] : sum[o] * slope_;
                }
            }
    }

    float slope_;
    std::vector<float> bias_;  // twice: of two columns
    Gdn gdn_;
};

}  // namespace

std::unique_ptr<TransformLayer> make_direct_conv(const ConvTensors& t, Isa isa) {
    return std::make_unique<DirectConv>(t, isa);
}

std::unique_ptr<TransformLayer> make_overlap_add(const ConvTensors& t, Isa isa) {
    return std::make_unique<OverlapAdd>(t, isa);
}

}  // namespace jahp
