// SPDX-License-Identifier: Apache-2.0
// One layer of g_a, h_a or g_s: a convolution with what follows it. Layers are immutable; a stream owns the rows.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/aligned.hpp"
#include "core/row_buffer.hpp"
#include "core/thread_team.hpp"
#include "simd/gdn.hpp"
#include "simd/isa.hpp"
#include "simd/matmul_f32.hpp"

namespace jahp {

// As a model file holds it. A convolution's weight is (out, in, kernel, kernel), zero padding kernel / 2; a transposed one's
// (in, out, 5, 5), stride 2, padding 2, output padding 1. Spans must live while the layer is built.
struct ConvTensors {
    std::string name;
    bool transposed = false;
    int outputs = 0, inputs = 0, kernel = 0, stride = 0;
    std::span<const float> weight, bias;
    float slope = 1;                        // y > 0 ? y : slope * y: 1 is none, 0 ReLU
    std::span<const float> gamma, beta;     // (out, out) and (out): GDN, if not empty
    bool inverse = false;                   // of GDN
};

// Memory of one thread, grown on demand.
struct LayerScratch {
    AlignedVector<float> input, product, squares, norm, narrow;
    static float* grown(AlignedVector<float>& v, std::size_t count) {
        if (v.size() < count) v.resize(count);
        return v.data();
    }
};

// GDN behind a layer, in place.
class Gdn {
  public:
    Gdn(const ConvTensors& t, Isa isa);
    // x: `positions` columns of a RowBuffer with t.outputs channels.
    void run(float* x, int positions, LayerScratch& scratch) const;

  private:
    bool active_, inverse_;
    int channels_, padded_, stride_;
    MatmulF32Kernel matmul_;
    GdnKernel kernel_;
    AlignedVector<float> gamma_, beta_;
};

// What makes rows of `out` from rows of `in`, a unit of unit_rows() rows at a time. Each output's sums run in an order that depends on
// the layer alone.
class TransformLayer {
  public:
    virtual ~TransformLayer() = default;
    TransformLayer(const TransformLayer&) = delete;
    TransformLayer& operator=(const TransformLayer&) = delete;

    int inputs() const { return inputs_; }
    int outputs() const { return outputs_; }
    virtual int output_size(int input_size) const = 0;  // of height and width
    virtual int unit_rows() const = 0;
    // Input rows [first_row, end_row) are read by a unit; they may lie outside of the map.
    virtual int first_row(int unit) const = 0;
    virtual int end_row(int unit) const = 0;
    // How many units together keep a few threads busy and use a weight often enough for each time it is read.
    virtual int good_units(int input_width) const = 0;
    // Writes rows of `units` units from `first` on, those inside of the map; scratch has an entry a thread of the team.
    virtual void run(const RowBuffer& in, RowBuffer& out, int first, int units, ThreadTeam& team, std::vector<LayerScratch>& scratch) const = 0;

  protected:
    TransformLayer(int inputs, int outputs) : inputs_(inputs), outputs_(outputs) {}

  private:
    int inputs_, outputs_;
};

// The layer or layers that a convolution is computed by. Error(model) for tensors that contradict each other or a kind that there is not.
std::vector<std::unique_ptr<TransformLayer>> make_layers(const ConvTensors& t, Isa isa);

// The members of transform_layer.cpp's choice.
std::unique_ptr<TransformLayer> make_direct_conv(const ConvTensors& t, Isa isa);
std::unique_ptr<TransformLayer> make_winograd_conv(const ConvTensors& t, Isa isa);  // 5x5, stride 2 or transposed; 8 channels or more
std::unique_ptr<TransformLayer> make_overlap_add(const ConvTensors& t, Isa isa);    // of 25 * outputs products a position

}  // namespace jahp
