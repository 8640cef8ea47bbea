// SPDX-License-Identifier: Apache-2.0
// One layer of g_a, h_a or g_s: a convolution with what follows it, in integers that docs/reference/format.md
// defines. Layers are immutable; a stream owns the rows.
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
#include "simd/finish.hpp"
#include "simd/gdn.hpp"
#include "simd/gdn_adjoint.hpp"
#include "simd/isa.hpp"
#include "simd/matmul_i16.hpp"

namespace jahp {

// What follows a convolution. none and pixels, which give int32 and uint8, are for the last layer of a net.
// `local` and `inverse_gdn_adjoint` are an adjoint's: they read what inverse GDNs have written into a trace.
enum class Activation { none, pixels, relu, leaky_relu, gdn, inverse_gdn, local, inverse_gdn_adjoint };

// As a model file holds it. A convolution's weight is (out, in, kernel, kernel), zero padding kernel / 2; a transposed
// one's (in, out, 5, 5), stride 2, padding 2, output padding 1. Spans must live while the layer is built.
struct ConvTensors {
    std::string name;
    bool transposed = false;
    int outputs = 0, inputs = 0, kernel = 0, stride = 0;
    std::span<const std::int16_t> weight;
    std::span<const std::int32_t> bias;
    std::span<const std::uint8_t> shift;  // below 30
    Activation activation = Activation::none;
    std::span<const std::int16_t> gamma;  // of GDN, (out, out), 0 or more; of its inverse's adjoint, 0 to 65535 a row
    std::span<const std::int32_t> beta;  // (out), 1 or more; no norm leaves 31 bits
    std::span<const std::int16_t> steady, varying;  // of a local gain, (out), 0 or more
    std::span<const std::uint8_t> varying_shift;  // at most 31
    std::span<const float> term, direct, cross;  // of the adjoint of an inverse GDN, (out): as GdnAdjointFactors
    std::span<const std::uint8_t> after_shift;  // of GDN 16 to 31, of its inverse and a local gain 1 to 31
};

// Memory of one thread, grown on demand.
struct LayerScratch {
    AlignedVector<std::int16_t> input, squares, narrow;
    AlignedVector<std::int32_t> product, norm;
    AlignedVector<std::byte> finished;
    template <typename T>
    static T* grown(AlignedVector<T>& v, std::size_t count) {
        if (v.size() < count) v.resize(count);
        return v.data();
    }
};

// What a layer has to do with a trace: inverse GDN writes into it where there is one, a local gain needs one to read,
// and the adjoint of an inverse GDN one that keeps inputs.
enum class Traced { no, writes, reads, reads_inputs };

inline bool reads(Traced traced) { return traced == Traced::reads || traced == Traced::reads_inputs; }

// Bias, shift, clamp and ReLU of a layer's outputs, by place: output o stands at places `repeats` times, outputs apart.
class Finisher {
public:
    // Places beyond the outputs, up to a multiple of 16, give 0.
    Finisher(const ConvTensors& t, int repeats);
    Finisher(const Finisher&) = delete;
    Finisher& operator=(const Finisher&) = delete;
    const FinishTable& table() const { return table_; }
    Element element() const { return element_; }

private:
    AlignedVector<std::int32_t> offset_, shift_;
    FinishTable table_;
    Element element_;
};

// GDN behind a layer, or what an adjoint has in its place, in place.
class Gdn {
public:
    Gdn(const ConvTensors& t, Isa isa);
    Traced traced() const { return traced_; }
    // x: `positions` columns of a RowBuffer with t.outputs channels, from (row, column) of the map on. level: null
    // where traced() does not need it.
    void run(std::int16_t* x, int positions, LayerScratch& scratch, GainTrace::Level* level, int row, int column) const;
    bool active() const { return active_; }

private:
    void pack_gamma(const ConvTensors& t);
    void norms(const std::int16_t* x, int positions, LayerScratch& scratch) const;
    void adjoint(std::int16_t* g, const std::int16_t* x, const std::uint16_t* roots, int positions,
                 LayerScratch& scratch) const;

    bool active_, inverse_;
    Traced traced_;
    int channels_, padded_, stride_;
    GdnKernel kernel_;
    GdnAdjointKernel adjoint_;
    MatmulI16Kernel matmul_;
    AlignedVector<std::int16_t> gamma_;
    AlignedVector<std::int32_t> beta_, steady_, varying_, varying_shift_, shift_;
    AlignedVector<float> term_, direct_, cross_;
};

// What makes rows of `out` from rows of `in`, a unit of unit_rows() rows at a time.
class TransformLayer {
public:
    virtual ~TransformLayer() = default;
    TransformLayer(const TransformLayer&) = delete;
    TransformLayer& operator=(const TransformLayer&) = delete;

    int inputs() const { return inputs_; }
    int outputs() const { return outputs_; }
    Element element() const { return finisher_.element(); }  // of what comes out
    Traced traced() const { return gdn_.traced(); }
    virtual int output_size(int input_size) const = 0;  // of height and width
    virtual int unit_rows() const = 0;
    // Input rows [first_row, end_row) are read by a unit; they may lie outside of the map.
    virtual int first_row(int unit) const = 0;
    virtual int end_row(int unit) const = 0;
    // How many units together keep a few threads busy and use a weight often enough for each time it is read.
    virtual int good_units(int input_width) const = 0;
    // Writes rows of `units` units from `first` on, those inside of the map; scratch has an entry a thread of the team.
    // level: as for Gdn::run.
    virtual void run(const RowBuffer& in, RowBuffer& out, int first, int units, ThreadTeam& team,
                     std::vector<LayerScratch>& scratch, GainTrace::Level* level) const = 0;

protected:
    // repeats: as for Finisher.
    TransformLayer(const ConvTensors& t, int repeats, Isa isa)
        : inputs_(t.inputs), outputs_(t.outputs), finisher_(t, repeats), gdn_(t, isa) {}

    int inputs_, outputs_;
    Finisher finisher_;
    Gdn gdn_;
};

// How a convolution is computed best. Error(model) for tensors that contradict each other, values out of their ranges
// or a kind that there is not.
std::unique_ptr<TransformLayer> make_layer(const ConvTensors& t, Isa isa);

// The members of transform_layer.cpp's choice; all give the same.
std::unique_ptr<TransformLayer> make_direct_conv(const ConvTensors& t, Isa isa);
std::unique_ptr<TransformLayer> make_overlap_conv(const ConvTensors& t, Isa isa);  // transposed, below 8 outputs
// 5x5, stride 2 or transposed; 8 channels or more, no pixels. Null where the weights that Winograd's form needs are
// beyond 16 bits.
std::unique_ptr<TransformLayer> make_winograd_conv(const ConvTensors& t, Isa isa);

}  // namespace jahp
