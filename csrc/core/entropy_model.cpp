// SPDX-License-Identifier: Apache-2.0
#include "core/entropy_model.hpp"

#include <algorithm>
#include <limits>
#include <string>
#include <type_traits>

#include "core/error.hpp"
#include "core/range_coder.hpp"

namespace jahp {
namespace {

constexpr std::int64_t kMaxContextMul = 1 << 15;
constexpr int
    kBandRows = 64;  // of features that the last layer of h_s makes at a time: what it reads is not held whole

void require(bool holds, const char* what) {
    if (!holds) throw Error(Fault::model, what);
}

std::vector<std::int32_t> copy(std::span<const std::int32_t> v) { return {v.begin(), v.end()}; }

}  // namespace

EntropyModel::EntropyModel(const EntropyTensors& t, Isa isa)
    : latents_(t.latents), hyper_latents_(t.hyper_latents), conditional_(t.conditional), means_(t.means), form_(t.form),
      activation_limit_(t.activation_bits == 8 ? 127 : 4095), mean_bits_(t.mean_bits), z_bits_(t.z_bits), isa_(isa),
      kernel_(dot_kernel_for(isa, activation_limit_)), tables_(t.prob_bits, t.table_low, t.table_size, t.table_starts),
      context_mul_(copy(t.context_mul)), context_add_(copy(t.context_add)), context_shift_(copy(t.context_shift)),
      z_offset_(copy(t.z_offset)) {
    const auto m = static_cast<std::size_t>(latents_);
    require(latents_ >= 1 && latents_ <= 4096 && hyper_latents_ >= 0 && hyper_latents_ <= 4096,
            "channel count is not in 1..4096");
    require(t.activation_bits == 8 || t.activation_bits == 16, "activation_bits must be 8 or 16");
    require(t.mean_bits >= 0 && t.mean_bits <= 8 && t.z_bits >= 0 && t.z_bits <= 8,
            "mean_bits and z_bits must be 0 to 8");
    require(z_offset_.size() == static_cast<std::size_t>(hyper_latents_),
            "z_offset must have one element a hyper-latent");
    require(tables_.rows() >= hyper_latents_ + (conditional_ ? 0 : latents_),
            "there are fewer table rows than channels");
    require(t.h_s.size() == (hyper_latents_ > 0 ? 3u : 0u),
            "h_s must have three layers, or none without hyper-latents");
    require(!t.context || t.context_prediction.size() == 1, "the context model must have one layer");
    require(t.entropy_parameters.size() == (t.context ? 3u : 0u),
            "entropy_parameters must have three layers with a context, else none");
    require(conditional_ || (!t.context && hyper_latents_ == 0),
            "a factorised model has neither context nor hyperprior");
    require(!conditional_ || t.context || hyper_latents_ > 0, "a conditional model needs a context or a hyperprior");
    require(form_ == Form::a || (conditional_ && means_), "form B needs means");
    for (const std::int32_t offset : z_offset_)
        require(offset > -(1 << 20) && offset < 1 << 20, "z_offset is out of range");

    const int parameter_count = means_ ? 2 * latents_ : latents_;
    int hyper_features = 0;
    if (hyper_latents_ > 0) {
        const BlockOrder order = !t.context && means_ ? BlockOrder::halves : BlockOrder::plain;
        for (std::size_t i = 0; i < 2; ++i)
            h_s_.push_back(transposed_layers(t.h_s[i], activation_limit_, activation_limit_, isa));
        h_s_last_ = conv_layer(t.h_s[2], activation_limit_, t.context ? activation_limit_ : kParameterLimit, isa,
                               order);
        require(t.h_s[2].kernel == 3, "the last layer of h_s is not 3x3");
        require(h_s_[0][0].inputs() == hyper_latents_ && h_s_[1][0].inputs() == h_s_[0][0].outputs() &&
                    h_s_last_->inputs() == h_s_[1][0].outputs(),
                "layers of h_s do not fit each other");
        hyper_features = h_s_last_->outputs();
        require(t.context || hyper_features == parameter_count, "h_s does not give the parameters of each latent");
    }
    if (t.context) {
        require(context_mul_.size() == m && context_add_.size() == m && context_shift_.size() == m,
                "context_input must have one element a latent");
        const std::int64_t most = form_ == Form::a ? kMaxSymbol : std::int64_t{kMaxSymbol} << mean_bits_;  // |ŷ|
        bool narrow = true;
        for (std::size_t c = 0; c < m; ++c) {
            const std::int64_t mul = std::abs(std::int64_t{context_mul_[c]});
            require(mul <= kMaxContextMul && context_shift_[c] >= 0 && context_shift_[c] <= 31,
                    "context_input is out of range");
            narrow = narrow && most * mul + std::abs(std::int64_t{context_add_[c]}) < std::int64_t{1} << 31;
        }
        context_input_ = context_input_for(isa, narrow);
        context_ = masked_layer(t.context_prediction[0], activation_limit_, activation_limit_, isa);
        require(context_->inputs() == latents_, "the context layer does not read the latents");
        slope_ = t.context_prediction[0].kernel / 2 + 1;
        require(t.entropy_parameters[0].inputs == hyper_features + context_->outputs() &&
                    t.entropy_parameters[0].kernel == 1,
                "entropy_parameters.0 does not read h_s and the context");
        const std::vector<Tap> here{{0, 0, 0}};
        std::vector<LayerPart> halves;
        if (hyper_features > 0) halves.push_back({here, 0, hyper_features});
        halves.push_back({here, hyper_features, context_->outputs()});
        entropy_parameters_.emplace_back(t.entropy_parameters[0], std::move(halves), activation_limit_,
                                         activation_limit_, isa);
        entropy_parameters_.push_back(dense_layer(t.entropy_parameters[1], activation_limit_, activation_limit_, isa));
        entropy_parameters_.push_back(dense_layer(t.entropy_parameters[2], activation_limit_, kParameterLimit, isa,
                                                  means_ ? BlockOrder::halves : BlockOrder::plain));
        require(entropy_parameters_[1].inputs() == entropy_parameters_[0].outputs() &&
                    entropy_parameters_[2].inputs() == entropy_parameters_[1].outputs() &&
                    entropy_parameters_[2].outputs() == parameter_count,
                "layers of entropy_parameters do not fit each other");
    }
    if (conditional_) make_scale_table(t);
}

void EntropyModel::make_scale_table(const EntropyTensors& t) {
    const std::size_t scales = t.scale_row.size();
    require(scales >= 1 && scales <= 65536 && t.scale_drop.size() == scales && t.scale_thresholds.size() + 1 == scales,
            "the scale table needs 1 to 65536 rows, as many drops and one threshold less");
    require(std::is_sorted(t.scale_thresholds.begin(), t.scale_thresholds.end()), "scale thresholds do not rise");
    for (std::size_t s = 0; s < scales; ++s) {
        require(t.scale_drop[s] >= 0 && t.scale_drop[s] <= mean_bits_, "scale drop is not in 0..mean_bits");
        const int fractions = form_ == Form::a && means_ ? 1 << (mean_bits_ - t.scale_drop[s]) : 1;
        require(t.scale_row[s] >= 0 && t.scale_row[s] <= tables_.rows() - fractions,
                "scale row is outside of the tables");
        require(t.scale_row[s] < 1 << 28, "there are too many tables");
        row_drop_.push_back(static_cast<std::uint32_t>(t.scale_row[s]) | static_cast<std::uint32_t>(t.scale_drop[s])
                                                                             << 28);
    }
    thresholds_ = copy(t.scale_thresholds);
    thresholds_.resize((scales + 63) / 64 * 64, std::numeric_limits<std::int32_t>::max());
    row_drop_.resize(thresholds_.size());
    for (std::uint32_t key = 0, below = 0; key < kScaleKeys; ++key) {
        while (below < t.scale_thresholds.size() && scale_key(t.scale_thresholds[below]) < key) ++below;
        floor_.push_back(static_cast<std::uint16_t>(below));
    }
    scale_table_ = {thresholds_.data(),
                    row_drop_.data(),
                    static_cast<int>(scales),
                    floor_.data(),
                    form_ == Form::a && means_ ? (1 << mean_bits_) - 1 : 0,
                    0};
    symbol_rows_ = symbol_rows_for(isa_, static_cast<int>(scales));
}

Plane EntropyModel::hyper_features(std::span<const std::int32_t> z, int hz, int wz, int height, int width,
                                   ThreadTeam& team) const {
    Plane in(hz, wz, hyper_latents_, 1, kernel_);
    const auto put = [&](auto* to, const std::int32_t* from) {
        for (int c = 0; c < hyper_latents_; ++c) {
            const std::int64_t value = std::int64_t{from[c]} * (1 << z_bits_) + z_offset_[static_cast<std::size_t>(c)];
            to[c] = static_cast<std::remove_pointer_t<decltype(to)>>(
                std::clamp<std::int64_t>(value, -activation_limit_, activation_limit_));
        }
    };
    const std::int32_t* from = z.data();
    for (int r = 0; r < hz; ++r) {
        for (int c = 0; c < wz; ++c, from += hyper_latents_)
            if (kernel_.bytes)
                put(in.at<std::int8_t>(r, c), from);
            else
                put(in.at<std::int16_t>(r, c), from);
        in.summarise(r, 0, 1, wz, kernel_);
    }
    const int all = 4 * hz, columns = 4 * wz, channels = h_s_[1][0].outputs();
    Plane middle(2 * hz, 2 * wz, h_s_[0][0].outputs(), 1, kernel_);
    convolve_transposed(h_s_[0], in, middle, {0, 2 * hz}, team);
    if (!context_) {
        Plane wide(all, columns, channels, 1, kernel_);
        convolve_transposed(h_s_[1], middle, wide, {0, all}, team);
        return wide;
    }
    Plane out(height, width, h_s_last_->outputs(), 0, kernel_);
    for (int first = 0; first < height; first += kBandRows) {
        const int end = std::min(height, first + kBandRows);
        const RowRange read{std::max(0, first - 1), std::min(all, end + 1)};  // by a kernel of 3x3
        Plane wide(read.end - read.first, columns, channels, 1, kernel_, read.first);
        convolve_transposed(h_s_[1], middle, wide, read, team);
        convolve(*h_s_last_, wide, out, {first, end}, team);
    }
    return out;
}

}  // namespace jahp
