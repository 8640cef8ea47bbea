// SPDX-License-Identifier: Apache-2.0
#include "core/entropy_model.hpp"

#include <algorithm>
#include <string>

#include "core/error.hpp"

namespace jahp {
namespace {

constexpr std::int64_t kMaxContextMul = 1 << 15;

void require(bool holds, const char* what) {
    if (!holds) throw Error(Fault::model, what);
}

std::vector<std::int32_t> copy(std::span<const std::int32_t> v) { return {v.begin(), v.end()}; }

}  // namespace

EntropyModel::EntropyModel(const EntropyTensors& t, Isa isa)
    : latents_(t.latents), hyper_latents_(t.hyper_latents), conditional_(t.conditional), means_(t.means), form_(t.form),
      activation_limit_(t.activation_bits == 8 ? 127 : 4095), mean_bits_(t.mean_bits), z_bits_(t.z_bits),
      tables_(t.prob_bits, t.table_low, t.table_size, t.table_starts), context_mul_(copy(t.context_mul)),
      context_add_(copy(t.context_add)), context_shift_(copy(t.context_shift)), z_offset_(copy(t.z_offset)),
      scale_thresholds_(copy(t.scale_thresholds)), scale_row_(copy(t.scale_row)), scale_drop_(copy(t.scale_drop)) {
    const auto m = static_cast<std::size_t>(latents_);
    require(latents_ >= 1 && latents_ <= 4096 && hyper_latents_ >= 0 && hyper_latents_ <= 4096, "channel count is not in 1..4096");
    require(t.activation_bits == 8 || t.activation_bits == 16, "activation_bits must be 8 or 16");
    require(t.mean_bits >= 0 && t.mean_bits <= 8 && t.z_bits >= 0 && t.z_bits <= 8, "mean_bits and z_bits must be 0 to 8");
    require(z_offset_.size() == static_cast<std::size_t>(hyper_latents_), "z_offset must have one element a hyper-latent");
    require(tables_.rows() >= hyper_latents_ + (conditional_ ? 0 : latents_), "there are fewer table rows than channels");
    require(t.h_s.size() == (hyper_latents_ > 0 ? 3u : 0u), "h_s must have three layers, or none without hyper-latents");
    require(!t.context || t.context_prediction.size() == 1, "the context model must have one layer");
    require(t.entropy_parameters.size() == (t.context ? 3u : 0u), "entropy_parameters must have three layers with a context, else none");
    require(conditional_ || (!t.context && hyper_latents_ == 0), "a factorised model has neither context nor hyperprior");
    require(!conditional_ || t.context || hyper_latents_ > 0, "a conditional model needs a context or a hyperprior");
    require(form_ == Form::a || (conditional_ && means_), "form B needs means");
    for (const std::int32_t offset : z_offset_) require(offset > -(1 << 20) && offset < 1 << 20, "z_offset is out of range");

    const int parameter_count = means_ ? 2 * latents_ : latents_;
    int hyper_features = 0;
    if (hyper_latents_ > 0) {
        h_s_.emplace_back(t.h_s[0], activation_limit_, activation_limit_, isa);
        h_s_.emplace_back(t.h_s[1], activation_limit_, activation_limit_, isa);
        h_s_last_ = conv_layer(t.h_s[2], activation_limit_, t.context ? activation_limit_ : kParameterLimit, isa);
        require(h_s_[0].inputs() == hyper_latents_ && h_s_[1].inputs() == h_s_[0].outputs() &&
                    h_s_last_->inputs() == h_s_[1].outputs(), "layers of h_s do not fit each other");
        hyper_features = h_s_last_->outputs();
        require(t.context || hyper_features == parameter_count, "h_s does not give the parameters of each latent");
    }
    if (t.context) {
        require(context_mul_.size() == m && context_add_.size() == m && context_shift_.size() == m,
                "context_input must have one element a latent");
        for (std::size_t c = 0; c < m; ++c)
            require(std::abs(std::int64_t{context_mul_[c]}) <= kMaxContextMul && context_shift_[c] >= 0 && context_shift_[c] <= 31,
                    "context_input is out of range");
        context_ = masked_layer(t.context_prediction[0], activation_limit_, activation_limit_, isa);
        require(context_->inputs() == latents_, "the context layer does not read the latents");
        slope_ = t.context_prediction[0].kernel / 2 + 1;
        for (std::size_t i = 0; i < 3; ++i)
            entropy_parameters_.push_back(dense_layer(t.entropy_parameters[i], activation_limit_, i == 2 ? kParameterLimit : activation_limit_, isa));
        require(entropy_parameters_[0].inputs() == hyper_features + context_->outputs() &&
                    entropy_parameters_[1].inputs() == entropy_parameters_[0].outputs() &&
                    entropy_parameters_[2].inputs() == entropy_parameters_[1].outputs() &&
                    entropy_parameters_[2].outputs() == parameter_count, "layers of entropy_parameters do not fit each other");
    }
    if (conditional_) {
        require(!scale_row_.empty() && scale_drop_.size() == scale_row_.size() && scale_thresholds_.size() + 1 == scale_row_.size(),
                "the scale table needs S rows and drops and S - 1 thresholds");
        require(std::is_sorted(scale_thresholds_.begin(), scale_thresholds_.end()), "scale thresholds do not rise");
        for (std::size_t s = 0; s < scale_row_.size(); ++s) {
            require(scale_drop_[s] >= 0 && scale_drop_[s] <= mean_bits_, "scale drop is not in 0..mean_bits");
            const int fractions = form_ == Form::a && means_ ? 1 << (mean_bits_ - scale_drop_[s]) : 1;
            require(scale_row_[s] >= 0 && scale_row_[s] <= tables_.rows() - fractions, "scale row is outside of the tables");
        }
    }
}

Plane EntropyModel::hyper_features(std::span<const std::int32_t> z, int hz, int wz, int height, int width, ThreadTeam& team) const {
    if (hyper_latents_ == 0) return {};
    Plane in(hz, wz, hyper_latents_);
    for (std::size_t i = 0; i < z.size(); ++i) {
        const std::int64_t value = std::int64_t{z[i]} * (1 << z_bits_) + z_offset_[i % static_cast<std::size_t>(hyper_latents_)];
        in.data[i] = static_cast<std::int16_t>(std::clamp<std::int64_t>(value, -activation_limit_, activation_limit_));
    }
    const Plane wide = h_s_[1].apply(h_s_[0].apply(in, 2 * hz, 2 * wz, team), 4 * hz, 4 * wz, team);
    if (!context_) return wide;
    Plane out(height, width, h_s_last_->outputs());
    constexpr int block = 16;
    const int depth = h_s_last_->depth();
    std::vector<LayerScratch> scratches(static_cast<std::size_t>(team.size()));
    const ThreadTeam::Job job = [&](int r, int thread) {
        LayerScratch& scratch = scratches[static_cast<std::size_t>(thread)];
        scratch.gathered.resize(static_cast<std::size_t>(block * depth));
        for (int c = 0; c < width; c += block) {
            const int n = std::min(block, width - c);
            for (int p = 0; p < n; ++p) h_s_last_->gather(wide, r, c + p, scratch.gathered.data() + static_cast<std::ptrdiff_t>(p) * depth);
            h_s_last_->apply(scratch.gathered.data(), depth, n, scratch, out.at(r, c), out.channels);
        }
    };
    team.run(height, job);
    return out;
}

void EntropyModel::context_input(const std::int32_t* y, std::int16_t* out) const {
    for (std::size_t c = 0; c < context_mul_.size(); ++c) {
        const std::int64_t v = (std::int64_t{y[c]} * context_mul_[c] + context_add_[c]) >> context_shift_[c];
        out[c] = static_cast<std::int16_t>(std::clamp<std::int64_t>(v, -activation_limit_, activation_limit_));
    }
}

void EntropyModel::parameters(std::span<const Position> positions, const Plane& hyper, const Plane& context, Scratch& s) const {
    const int n = static_cast<int>(positions.size());
    const auto fit = [n](auto& v, int width) {
        if (v.size() < static_cast<std::size_t>(n * width)) v.resize(static_cast<std::size_t>(n * width));
    };
    const auto gather = [&](const IntegerLayer& layer, const Plane& plane) {
        fit(s.gathered, layer.depth());
        for (int p = 0; p < n; ++p) {
            const Position at = positions[static_cast<std::size_t>(p)];
            layer.gather(plane, at.row, at.column, s.gathered.data() + static_cast<std::ptrdiff_t>(p) * layer.depth());
        }
    };
    if (!context_) {
        gather(*h_s_last_, hyper);
        fit(s.parameters, h_s_last_->outputs());
        h_s_last_->apply(s.gathered.data(), h_s_last_->depth(), n, s.layer, s.parameters.data(), h_s_last_->outputs());
        return;
    }
    gather(*context_, context);
    const IntegerLayer &first = entropy_parameters_[0], &second = entropy_parameters_[1], &third = entropy_parameters_[2];
    fit(s.features, std::max(first.depth(), third.depth()));
    fit(s.hidden, second.depth());
    fit(s.parameters, third.outputs());
    // Input of the first layer: hyperprior's features, then the context's; the padding beyond meets weights of zero.
    const int own = hyper.channels;
    context_->apply(s.gathered.data(), context_->depth(), n, s.layer, s.features.data() + own, first.depth());
    for (int p = 0; p < n; ++p) {
        const Position at = positions[static_cast<std::size_t>(p)];
        std::int16_t* to = s.features.data() + static_cast<std::ptrdiff_t>(p) * first.depth();
        if (own > 0) std::copy_n(hyper.at(at.row, at.column), own, to);
    }
    first.apply(s.features.data(), first.depth(), n, s.layer, s.hidden.data(), second.depth());
    second.apply(s.hidden.data(), second.depth(), n, s.layer, s.features.data(), third.depth());
    third.apply(s.features.data(), third.depth(), n, s.layer, s.parameters.data(), third.outputs());
}

void EntropyModel::symbols(std::span<const Position> positions, const Plane& hyper, const Plane& context, Scratch& scratch,
                           Symbol* out) const {
    const std::size_t n = positions.size(), m = static_cast<std::size_t>(latents_);
    if (!conditional_) {
        for (std::size_t i = 0; i < n * m; ++i) out[i] = {hyper_latents_ + static_cast<std::int32_t>(i % m), 0, 0};
        return;
    }
    parameters(positions, hyper, context, scratch);
    const std::size_t stride = means_ ? 2 * m : m;
    const std::int32_t mask = (1 << mean_bits_) - 1;
    for (std::size_t p = 0; p < n; ++p)
        for (std::size_t c = 0; c < m; ++c) {
            const std::int32_t* q = scratch.parameters.data() + p * stride;
            const auto scale = std::upper_bound(scale_thresholds_.begin(), scale_thresholds_.end(), q[c]) - scale_thresholds_.begin();
            const std::int32_t mean = means_ ? q[m + c] : 0;
            const std::int32_t fraction = form_ == Form::a && means_ ? (mean & mask) >> scale_drop_[static_cast<std::size_t>(scale)] : 0;
            out[p * m + c] = {scale_row_[static_cast<std::size_t>(scale)] + fraction, mean, static_cast<std::int32_t>(scale)};
        }
}

}  // namespace jahp
