// SPDX-License-Identifier: Apache-2.0
// One layer of g_a, h_a or g_s: a convolution with what follows it. Layers are immutable; a stream owns the rows.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/aligned.hpp"
#include "core/gain_trace.hpp"
#include "core/row_buffer.hpp"
#include "core/thread_team.hpp"
#include "simd/gdn.hpp"
#include "simd/isa.hpp"
#include "simd/matmul_bf16.hpp"
#include "simd/matmul_f32.hpp"

namespace jahp {

// Of the products in Winograd's form and in GDN. bf16: factors are rounded to bfloat16, sums and all else stay float32.
enum class Precision { f32, bf16 };

// As a model file holds it. A convolution's weight is (out, in, kernel, kernel), zero padding kernel / 2; a transposed
// one's (in, out, 5, 5), stride 2, padding 2, output padding 1. Spans must live while the layer is built.
struct ConvTensors {
    std::string name;
    bool transposed = false;
    int outputs = 0, inputs = 0, kernel = 0, stride = 0;
    std::span<const float> weight, bias;
    float slope = 1;                        // y > 0 ? y : slope * y: 1 is none, 0 ReLU
    std::span<const float> gamma, beta;     // (out, out) and (out): GDN, if not empty
    bool inverse = false;                   // of GDN
    std::span<const float> steady,
        varying; // (out) each, if not empty: y times steady + varying * the root that a trace has there
};

// Memory of one thread, grown on demand.
struct LayerScratch {
    AlignedVector<float> input, product, squares, norm, narrow;
    AlignedVector<std::uint32_t> pairs;  // of bfloat16
    template <typename T>
    static T* grown(AlignedVector<T>& v, std::size_t count) {
        if (v.size() < count) v.resize(count);
        return v.data();
    }
};

// Products of matrices with constant weights, in either precision.
class Product {
public:
    // weight: (depth, outputs), read here only; outputs are padded with zeros to a multiple of 16.
    Product(int depth, int outputs, const float* weight, Isa isa, Precision precision);
    // c (+)= a times the weights, as MatmulF32 has it; rows of a have a_stride values, a multiple of 16, 0 beyond
    // depth.
    void run(const float* a, std::ptrdiff_t a_stride, int positions, const float* start, float* c,
             std::ptrdiff_t c_stride, bool add, LayerScratch& scratch) const;

private:
    int depth_, blocks_;
    MatmulF32Kernel f32_;
    MatmulBf16Kernel bf16_;
    AlignedVector<float> weight_;         // one of the two
    AlignedVector<std::uint32_t> pairs_;
};

// What a layer has to do with a trace: inverse GDN writes into it where there is one, a local gain needs one to read.
enum class Traced { no, writes, reads };

// GDN behind a layer, or a local gain, in place.
class Gdn {
public:
    Gdn(const ConvTensors& t, Isa isa, Precision precision = Precision::f32);
    Traced traced() const { return traced_; }
    // x: `positions` columns of a RowBuffer with t.outputs channels, from (row, column) of the map on. level: null
    // where traced() does not need it.
    void run(float* x, int positions, LayerScratch& scratch, GainTrace::Level* level, int row, int column) const;

private:
    bool active_, inverse_;
    Traced traced_;
    int channels_, padded_, stride_;
    GdnKernel kernel_;
    std::optional<Product> gamma_;
    AlignedVector<float> beta_, steady_, varying_;
};

// What makes rows of `out` from rows of `in`, a unit of unit_rows() rows at a time. Each output's sums run in an order
// that depends on the layer alone.
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
    virtual Traced traced() const { return Traced::no; }
    // Writes rows of `units` units from `first` on, those inside of the map; scratch has an entry a thread of the team.
    // level: as for Gdn::run.
    virtual void run(const RowBuffer& in, RowBuffer& out, int first, int units, ThreadTeam& team,
                     std::vector<LayerScratch>& scratch, GainTrace::Level* level) const = 0;

protected:
    TransformLayer(int inputs, int outputs) : inputs_(inputs), outputs_(outputs) {}

private:
    int inputs_, outputs_;
};

// The layer or layers that a convolution is computed by. Error(model) for tensors that contradict each other or a kind
// that there is not.
std::vector<std::unique_ptr<TransformLayer>> make_layers(const ConvTensors& t, Isa isa, Precision precision);

// The members of transform_layer.cpp's choice.
std::unique_ptr<TransformLayer> make_direct_conv(const ConvTensors& t, Isa isa);
std::unique_ptr<TransformLayer> make_winograd_conv(
    const ConvTensors& t, Isa isa, Precision precision);  // 5x5, stride 2 or transposed; 8 channels or more
std::unique_ptr<TransformLayer> make_overlap_add(const ConvTensors& t, Isa isa);  // of 25 * outputs products a position

}  // namespace jahp
