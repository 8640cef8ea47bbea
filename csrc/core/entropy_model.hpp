// SPDX-License-Identifier: Apache-2.0
// The entropy path of one model: from decoded z and the decoded part of ŷ to the probability table row of each symbol.
// Everything in integers, as docs/reference/format.md has it. Immutable after construction and shared between
// threads and images.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/cdf.hpp"
#include "core/integer_net.hpp"
#include "core/wavefront.hpp"
#include "simd/context_input.hpp"
#include "simd/symbol_rows.hpp"

namespace jahp {

enum class Form {
    a,  // ŷ is the coded integer; the mean chooses the table and shifts it
    b,  // ŷ = coded residual + mean, with mean_bits fractional bits
};

// Views of a model file's tensors; read in the constructor only. Layers that an architecture lacks have no elements.
struct EntropyTensors {
    int latents = 0;           // M
    int hyper_latents = 0;     // N; 0: no hyperprior
    bool conditional = false;  // false: factorised, channel c uses row c
    bool means = false;        // the parameters are M scales and then M means, else M scales
    bool context = false;
    Form form = Form::a;
    int activation_bits = 8;  // 8: |a| <= 127; 16: |a| <= 4095
    int mean_bits = 6;        // fractional bits of means, and of ŷ in form B
    int z_bits = 0;           // fractional bits of z_offset
    int prob_bits = 15;
    std::vector<LayerTensors> h_s;         // 2 transposed and a 3x3 convolution
    std::vector<LayerTensors> context_prediction;  // 1, masked
    std::vector<LayerTensors> entropy_parameters;  // 3, 1x1
    std::span<const std::int32_t> context_mul, context_add, context_shift;  // [M]
    std::span<const std::int32_t> z_offset;                                 // [N]
    std::span<const std::int32_t> table_low, table_size;
    std::span<const std::uint16_t> table_starts;
    std::span<const std::int32_t> scale_thresholds;         // [S - 1], rising
    std::span<const std::int32_t> scale_row, scale_drop;    // [S]
};

class EntropyModel {
public:
    static constexpr std::int32_t kParameterLimit = 1 << 23;

    // Throws Error(model) where the tensors contradict each other, a sum could overflow or a row is out of the tables.
    EntropyModel(const EntropyTensors& tensors, Isa isa);
    EntropyModel(const EntropyModel&) = delete;
    EntropyModel& operator=(const EntropyModel&) = delete;

    int latents() const { return latents_; }
    int hyper_latents() const { return hyper_latents_; }
    bool conditional() const { return conditional_; }
    bool context() const { return context_.has_value(); }
    Form form() const { return form_; }
    int mean_bits() const { return mean_bits_; }
    int slope() const { return slope_; }  // of the wavefront; 0 without context
    const CdfTables& tables() const { return tables_; }

    bool means() const { return means_; }

    // The layers, in the order of use. h_s: two transposed layers of four phases, then the last; with a context the
    // first of entropy_parameters reads the features of h_s (part kHyperHalf, if there are any) and those of the
    // context (the last part).
    enum { kHyperHalf = 0 };
    std::span<const IntegerLayer> h_s(int i) const { return h_s_[static_cast<std::size_t>(i)]; }
    const IntegerLayer& h_s_last() const { return *h_s_last_; }
    const IntegerLayer& context_layer() const { return *context_; }
    const IntegerLayer& parameters(int i) const { return entropy_parameters_[static_cast<std::size_t>(i)]; }
    const DotKernel& kernel() const { return kernel_; }  // of all layers
    Isa isa() const { return isa_; }

    // What z alone decides, for height x width positions of y: the features that enter entropy_parameters (with
    // context) or the input of the last layer of h_s (without). z: hz x wz x N. Only for models with a hyperprior.
    Plane hyper_features(std::span<const std::int32_t> z, int hz, int wz, int height, int width,
                         ThreadTeam& team) const;

    // clamp((ŷ * mul + add) >> shift) of one position, as activations of the kernel's type; the rest as
    // simd/context_input.hpp has it.
    std::int32_t context_input(const std::int32_t* y, void* out, std::uint64_t* nonzero) const {
        const ContextTable table{context_mul_.data(), context_add_.data(), context_shift_.data(), activation_limit_,
                                 latents_};
        return kernel_.bytes ? context_input_.to_i8(y, table, static_cast<std::int8_t*>(out), nonzero)
                             : context_input_.to_i16(y, table, static_cast<std::int16_t*>(out), nonzero);
    }

    // `n` symbols of a conditional model from their parameters; means is null in a model without. Symbols with a scale
    // index below `skip` are not coded.
    void symbols(const std::int32_t* scales, const std::int32_t* means, int n, int skip, Symbol* out) const {
        ScaleTable table = scale_table_;
        table.skip = skip;
        symbol_rows_(scales, means, table, n, out);
    }

private:
    void make_scale_table(const EntropyTensors& tensors);

    int latents_, hyper_latents_;
    bool conditional_, means_;
    Form form_;
    std::int32_t activation_limit_;
    int mean_bits_, z_bits_, slope_ = 0;
    Isa isa_;
    DotKernel kernel_;
    CdfTables tables_;
    std::vector<std::vector<IntegerLayer>> h_s_;  // the phases of the first two layers
    std::optional<IntegerLayer> h_s_last_, context_;
    std::vector<IntegerLayer> entropy_parameters_;
    ContextInput context_input_{};
    std::vector<std::int32_t> context_mul_, context_add_, context_shift_, z_offset_;
    std::vector<std::int32_t> thresholds_;  // as ScaleTable wants them
    std::vector<std::uint32_t> row_drop_;
    std::vector<std::uint16_t> floor_;
    ScaleTable scale_table_{};
    SymbolRows symbol_rows_ = nullptr;
};

}  // namespace jahp
