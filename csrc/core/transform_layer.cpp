// SPDX-License-Identifier: Apache-2.0
#include "core/transform_layer.hpp"

#include <algorithm>
#include <limits>

#include "core/error.hpp"

namespace jahp {
namespace {

constexpr int kGdnPositions = 48;  // squares and norms of so many stay in the first-level cache
constexpr int kMostChannels = 4096;
constexpr int kMostShift = 29, kMostAfterShift = 31;

int padded(int channels) { return (channels + kMatmulBlock - 1) / kMatmulBlock * kMatmulBlock; }

std::size_t product(int a, int b, int c = 1, int d = 1) {
    return static_cast<std::size_t>(a) * static_cast<std::size_t>(b) * static_cast<std::size_t>(c) *
           static_cast<std::size_t>(d);
}

bool within(std::span<const std::uint8_t> shifts, int least, int most) {
    return std::all_of(shifts.begin(), shifts.end(), [&](int s) { return least <= s && s <= most; });
}

// Norms from 1 to 2^31 - 1, whatever the squares.
bool bounded(const ConvTensors& t) {
    for (int o = 0; o < t.outputs; ++o) {
        std::int64_t most = t.beta[product(o, 1)];
        if (most < 1) return false;
        for (const std::int16_t g : t.gamma.subspan(product(o, t.outputs), product(t.outputs, 1))) {
            if (g < 0) return false;
            most += std::int64_t{g} * 65535;
        }
        if (most > std::numeric_limits<std::int32_t>::max()) return false;
    }
    return true;
}

// Factors that no sum of products of 16 bits overflows.
bool small(const ConvTensors& t) {
    for (int o = 0; o < t.outputs; ++o) {
        std::int32_t sum = 0;
        for (const std::int16_t g : t.gamma.subspan(product(o, t.outputs), product(t.outputs, 1)))
            if (g < 0 || (sum += g) > 65535) return false;
    }
    return true;
}

void check_adjoint(const ConvTensors& t) {
    const std::size_t channels = product(t.outputs, 1);
    if (t.gamma.size() != product(t.outputs, t.outputs) || t.term.size() != channels || t.direct.size() != channels ||
        t.cross.size() != channels)
        throw Error(Fault::model, t.name + ": the adjoint of an inverse GDN does not have the layer's " +
                                      std::to_string(t.outputs) + " channels");
    if (!small(t))
        throw Error(Fault::model, t.name + ": a row of the adjoint's gamma is negative or adds up to more than 65535");
}

void check(const ConvTensors& t) {
    const auto refuse = [&](const std::string& what) { throw Error(Fault::model, t.name + ": " + what); };
    if (t.inputs < 1 || t.outputs < 1 || t.inputs > kMostChannels || t.outputs > kMostChannels)
        refuse(std::to_string(t.inputs) + " to " + std::to_string(t.outputs) + " channels; 1 to " +
               std::to_string(kMostChannels) + " are possible");
    if (t.transposed ? t.kernel != 5 || t.stride != 2
                     : (t.kernel != 1 && t.kernel != 3 && t.kernel != 5) || (t.stride != 1 && t.stride != 2))
        refuse("a kernel of " + std::to_string(t.kernel) + " with stride " + std::to_string(t.stride) +
               " is not supported");
    const std::size_t channels = product(t.outputs, 1);
    if (t.weight.size() != product(t.inputs, t.outputs, t.kernel, t.kernel) || t.bias.size() != channels ||
        t.shift.size() != channels)
        refuse("weight, bias and shift differ in their channels");
    if (!within(t.shift, 0, kMostShift)) refuse("a shift is not 0 to " + std::to_string(kMostShift));
    if (t.activation == Activation::gdn || t.activation == Activation::inverse_gdn) {
        const int least = t.activation == Activation::gdn ? 16 : 1;
        if (t.gamma.size() != product(t.outputs, t.outputs) || t.beta.size() != channels ||
            t.after_shift.size() != channels)
            refuse("gamma, beta and shift of GDN do not have the layer's " + std::to_string(t.outputs) + " channels");
        if (!bounded(t)) refuse("gamma or beta is out of range, or their norm could leave 31 bits");
        if (!within(t.after_shift, least, kMostAfterShift))
            refuse("a shift of GDN is not " + std::to_string(least) + " to " + std::to_string(kMostAfterShift));
    }
    if (t.activation == Activation::inverse_gdn_adjoint) check_adjoint(t);
    if (t.activation == Activation::local) {
        if (t.steady.size() != channels || t.varying.size() != channels || t.varying_shift.size() != channels ||
            t.after_shift.size() != channels)
            refuse("a local gain does not have the layer's " + std::to_string(t.outputs) + " channels");
        const auto negative = [](std::span<const std::int16_t> values) {
            return std::any_of(values.begin(), values.end(), [](std::int16_t v) { return v < 0; });
        };
        if (negative(t.steady) || negative(t.varying)) refuse("a local gain is negative");
        if (!within(t.varying_shift, 0, kMostAfterShift))
            refuse("a local gain's shift of what varies is not 0 to " + std::to_string(kMostAfterShift));
        if (!within(t.after_shift, 1, kMostAfterShift))
            refuse("a local gain's shift is not 1 to " + std::to_string(kMostAfterShift));
    }
}

template <typename To = std::int32_t, typename T>
AlignedVector<To> padded_copy(std::span<const T> values, int count, To beyond) {
    AlignedVector<To> out(static_cast<std::size_t>(count), beyond);
    std::copy(values.begin(), values.end(), out.begin());
    return out;
}

}  // namespace

Finisher::Finisher(const ConvTensors& t, int repeats) {
    const auto places = product(padded(repeats * t.outputs), 1);
    offset_.assign(places, 0);
    shift_.assign(places, 2);
    for (std::size_t i = 0; i < product(repeats, t.outputs); ++i) {
        const std::size_t o = i % product(t.outputs, 1);
        const std::uint32_t half = (std::uint32_t{1} << t.shift[o]) >> 1;
        offset_[i] = static_cast<std::int32_t>(4 * (static_cast<std::uint32_t>(t.bias[o]) + half));
        shift_[i] = t.shift[o] + 2;
    }
    std::int32_t low = -kActivationLimit, high = kActivationLimit;
    element_ = Element::i16;
    switch (t.activation) {
        case Activation::none:
            element_ = Element::i32;
            low = std::numeric_limits<std::int32_t>::min();
            high = std::numeric_limits<std::int32_t>::max();
            break;
        case Activation::pixels:
            element_ = Element::u8;
            low = 0;
            high = 255;
            break;
        case Activation::relu:
            low = 0;
            break;
        case Activation::leaky_relu:
            low = kLeakyLow;
            break;
        case Activation::gdn:
        case Activation::inverse_gdn:
        case Activation::local:
        case Activation::inverse_gdn_adjoint:
            low = -kSumLimit;
            high = kSumLimit;
            break;
    }
    table_ = {offset_.data(), shift_.data(), low, high, t.activation == Activation::leaky_relu};
}

Gdn::Gdn(const ConvTensors& t, Isa isa)
    : active_(t.activation == Activation::gdn || t.activation == Activation::inverse_gdn ||
              t.activation == Activation::local || t.activation == Activation::inverse_gdn_adjoint),
      inverse_(t.activation == Activation::inverse_gdn),
      traced_(t.activation == Activation::local                 ? Traced::reads
              : t.activation == Activation::inverse_gdn_adjoint ? Traced::reads_inputs
              : inverse_                                        ? Traced::writes
                                                                : Traced::no),
      channels_(t.outputs), padded_(padded(t.outputs)), stride_(RowBuffer::stride_for(t.outputs)),
      kernel_(gdn_for(isa)), adjoint_(gdn_adjoint_for(isa)), matmul_(matmul_i16_for(isa, (t.outputs + 1) / 2)) {
    if (!active_) return;
    if (traced_ == Traced::reads_inputs) {
        term_ = padded_copy(t.term, padded_, 0.0f);
        direct_ = padded_copy(t.direct, padded_, 0.0f);
        cross_ = padded_copy(t.cross, padded_, 0.0f);
        pack_gamma(t);
        return;
    }
    shift_ = padded_copy(t.after_shift, padded_, 16);
    if (traced_ == Traced::reads) {
        steady_ = padded_copy(t.steady, padded_, 0);
        varying_ = padded_copy(t.varying, padded_, 0);
        varying_shift_ = padded_copy(t.varying_shift, padded_, 0);
        return;
    }
    beta_ = padded_copy(t.beta, padded_, 1);
    pack_gamma(t);
    for (int o = 0; o < channels_; ++o) {
        std::uint32_t sum = 0;
        for (int k = 0; k < channels_; ++k)
            sum += static_cast<std::uint32_t>(t.gamma[product(o, channels_) + product(k, 1)]);
        // Squares come without kSquareBias.
        std::int32_t& beta = beta_[product(o, 1)];
        beta = static_cast<std::int32_t>(static_cast<std::uint32_t>(beta) +
                                         sum * static_cast<std::uint32_t>(kSquareBias));
    }
}

void Gdn::pack_gamma(const ConvTensors& t) {
    const int depth = (channels_ + 1) / 2 * 2;
    gamma_.assign(product(depth, padded_), 0);
    for (int o = 0; o < channels_; ++o)
        for (int k = 0; k < channels_; ++k)
            gamma_[matmul_.pack_index(padded_ / kMatmulBlock, depth, k, o)] = t.gamma[product(o, channels_) +
                                                                                      product(k, 1)];
}

void Gdn::norms(const std::int16_t* x, int positions, LayerScratch& scratch) const {
    std::int16_t* const squares = LayerScratch::grown(scratch.squares, product(kGdnPositions, padded_));
    std::int32_t* const norm = LayerScratch::grown(scratch.norm, product(kGdnPositions, padded_));
    kernel_.squares(x, static_cast<std::ptrdiff_t>(positions) * padded_, squares);
    const std::int16_t* const a = squares;
    matmul_.run({&a, padded_, positions, 1, (channels_ + 1) / 2, gamma_.data(), padded_ / kMatmulBlock, beta_.data(),
                 norm, padded_});
}

void Gdn::adjoint(std::int16_t* g, const std::int16_t* x, const std::uint16_t* roots, int positions,
                  LayerScratch& scratch) const {
    std::int16_t* const terms = LayerScratch::grown(scratch.squares, product(kGdnPositions, padded_));
    std::int32_t* const sums = LayerScratch::grown(scratch.norm, product(kGdnPositions, padded_));
    adjoint_.terms(g, x, roots, positions, padded_, term_.data(), terms);
    const std::int16_t* const a = terms;
    matmul_.run({&a, padded_, positions, 1, (channels_ + 1) / 2, gamma_.data(), padded_ / kMatmulBlock, nullptr, sums,
                 padded_});
    adjoint_.combine(g, x, roots, sums, positions, padded_, {term_.data(), direct_.data(), cross_.data()});
}

void Gdn::run(std::int16_t* x, int positions, LayerScratch& scratch, GainTrace::Level* level, int row,
              int column) const {
    std::uint16_t* roots = level != nullptr ? level->roots(row, column) : nullptr;
    std::int16_t* inputs = level != nullptr ? level->inputs(row, column) : nullptr;
    std::uint32_t* sums = traced_ == Traced::reads ? level->squares(row, column) : nullptr;
    for (int first = 0; first < positions; first += kGdnPositions) {
        const int n = std::min(kGdnPositions, positions - first);
        std::int16_t* const from = x + static_cast<std::ptrdiff_t>(first) * stride_;
        std::int16_t* values = from;
        if (stride_ != padded_) {
            values = LayerScratch::grown(scratch.narrow, product(kGdnPositions, padded_));
            std::fill(values, values + n * padded_, std::int16_t{0});
            for (int p = 0; p < n; ++p)
                std::copy(from + p * stride_, from + p * stride_ + channels_, values + p * padded_);
        }
        if (traced_ == Traced::reads) {
            kernel_.local(values, n, padded_, {steady_.data(), varying_.data(), varying_shift_.data(), shift_.data()},
                          roots, sums);
            sums += n;
        } else if (traced_ == Traced::reads_inputs) {
            adjoint(values, inputs, roots, n, scratch);
        } else {
            if (inputs != nullptr) std::copy(values, values + product(n, padded_), inputs);
            norms(values, n, scratch);
            if (roots != nullptr)
                kernel_.multiply_keep(values, n, padded_, scratch.norm.data(), shift_.data(), roots);
            else
                (inverse_ ? kernel_.multiply : kernel_.divide)(values, n, padded_, scratch.norm.data(), shift_.data());
        }
        if (roots != nullptr) roots += static_cast<std::ptrdiff_t>(n) * padded_;
        if (inputs != nullptr) inputs += static_cast<std::ptrdiff_t>(n) * padded_;
        for (int p = 0; p < n && values != from; ++p)
            std::copy(values + p * padded_, values + p * padded_ + channels_, from + p * stride_);
    }
}

std::unique_ptr<TransformLayer> make_layer(const ConvTensors& t, Isa isa) {
    check(t);
    if (t.transposed && t.outputs < 8) return make_overlap_conv(t, isa);
    std::unique_ptr<TransformLayer> layer;
    if (t.inputs >= 8 && t.outputs >= 8 && t.kernel == 5 && t.stride == 2 && t.activation != Activation::pixels)
        layer = make_winograd_conv(t, isa);
    return layer != nullptr ? std::move(layer) : make_direct_conv(t, isa);
}

}  // namespace jahp
