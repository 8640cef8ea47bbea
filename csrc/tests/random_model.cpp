// SPDX-License-Identifier: Apache-2.0
#include "tests/random_model.hpp"

#include <algorithm>
#include <cmath>

#include "core/range_coder.hpp"

namespace jahp::test {
namespace {

constexpr int kMeanBits = 4, kZBits = 1, kScales = 4;

}  // namespace

RandomTables::RandomTables(Random& random, int prob_bits, int rows) {
    for (int r = 0; r < rows; ++r) {
        const auto n = static_cast<std::int32_t>(random(1, 24));
        size.push_back(n);
        low.push_back(-n / 2 + static_cast<std::int32_t>(random(-2, 2)));
        // Distinct starts in rising order: narrow tables leave nearly everything to one entry.
        const std::int64_t span = random(0, 3) == 0 ? 64 : (std::int64_t{1} << prob_bits) - 1;
        std::vector<std::uint16_t> row{0};
        while (row.size() <= static_cast<std::size_t>(n)) {
            const auto start = static_cast<std::uint16_t>(random(1, span));
            if (std::find(row.begin(), row.end(), start) == row.end()) row.push_back(start);
        }
        std::sort(row.begin(), row.end());
        starts.insert(starts.end(), row.begin(), row.end());
    }
}

RandomLayer::RandomLayer(Random& random, std::string n, int out, int in, int k, int taps, std::int32_t in_limit,
                         std::int32_t out_limit)
    : name(std::move(n)), outputs(out), inputs(in), kernel(k) {
    const auto o = static_cast<std::size_t>(out);
    weight = random.many<std::int8_t>(o * static_cast<std::size_t>(in * k * k), -127, 127);
    const double spread = std::sqrt(in * taps) * 73 * in_limit / 3;
    bias = random.many<std::int32_t>(o, static_cast<std::int64_t>(-spread), static_cast<std::int64_t>(spread));
    zero = random.many<std::int32_t>(o, -20, 20);
    for (std::size_t i = 0; i < o; ++i) {
        shift.push_back(static_cast<std::int32_t>(random(24, 30)));
        const double factor = out_limit / spread * static_cast<double>(random(40, 120)) / 100;
        mul_pos.push_back(static_cast<std::int32_t>(std::min(factor * (1 << shift[i]), 2147483647.0)));
        mul_neg.push_back(static_cast<std::int32_t>(mul_pos[i] * random(0, 4) / 4));
    }
}

LayerTensors RandomLayer::tensors() const {
    return {name, outputs, inputs, kernel, weight, bias, mul_pos, mul_neg, shift, zero};
}

RandomModel::RandomModel(const ModelShape& shape, std::uint32_t seed) : shape_(shape) {
    Random random(seed);
    const int m = shape.latents, n = shape.hyper_latents, k = shape.kernel;
    const std::int32_t limit = shape.activation_bits == 8 ? 127 : 4095, parameter_limit = 40 << kMeanBits;
    if (shape.hyper) {
        h_s_.emplace_back(random, "h_s.0", n + 1, n, 5, 6, limit, limit);
        h_s_.emplace_back(random, "h_s.2", n + 2, n + 1, 5, 6, limit, limit);
        h_s_.emplace_back(random, "h_s.4", 2 * m, n + 2, 3, 9, limit, shape.context ? limit : parameter_limit);
        z_offset_ = random.many<std::int32_t>(static_cast<std::size_t>(n), -1, 1);
    }
    if (shape.context) {
        context_.emplace_back(random, "context_prediction", 2 * m, m, k, k * k / 2, limit, limit);
        parameters_.emplace_back(random, "entropy_parameters.0", m + 5, shape.hyper ? 4 * m : 2 * m, 1, 1, limit,
                                 limit);
        parameters_.emplace_back(random, "entropy_parameters.2", m + 3, m + 5, 1, 1, limit, limit);
        parameters_.emplace_back(random, "entropy_parameters.4", 2 * m, m + 3, 1, 1, limit, parameter_limit);
        const auto count = static_cast<std::size_t>(m);
        mul_ = random.many<std::int32_t>(count, -40, 40);
        shift_ = random.many<std::int32_t>(count, 0, 4);
        for (const std::int32_t s : shift_) add_.push_back(1 << s >> 1);
    }
    int rows = shape.hyper ? n : 0;
    if (shape.factorized()) {
        rows += m;
    } else {
        for (int s = 0; s < kScales; ++s) {
            if (s > 0) thresholds_.push_back(parameter_limit * (2 * s - kScales) / (2 * kScales));
            drop_.push_back(std::min(s + 1, kMeanBits));
            row_.push_back(rows);
            rows += shape.form == Form::a ? 1 << (kMeanBits - drop_.back()) : 1;
        }
    }
    tables_ = std::make_unique<RandomTables>(random, shape.prob_bits, rows);
}

EntropyTensors RandomModel::tensors() const {
    EntropyTensors t;
    t.latents = shape_.latents;
    t.hyper_latents = shape_.hyper ? shape_.hyper_latents : 0;
    t.conditional = t.means = !shape_.factorized();
    t.context = shape_.context;
    t.form = shape_.form;
    t.activation_bits = shape_.activation_bits;
    t.mean_bits = kMeanBits;
    t.z_bits = kZBits;
    t.prob_bits = shape_.prob_bits;
    for (const RandomLayer& layer : h_s_) t.h_s.push_back(layer.tensors());
    for (const RandomLayer& layer : context_) t.context_prediction.push_back(layer.tensors());
    for (const RandomLayer& layer : parameters_) t.entropy_parameters.push_back(layer.tensors());
    t.context_mul = mul_;
    t.context_add = add_;
    t.context_shift = shift_;
    t.z_offset = z_offset_;
    t.table_low = tables_->low;
    t.table_size = tables_->size;
    t.table_starts = tables_->starts;
    t.scale_thresholds = thresholds_;
    t.scale_row = row_;
    t.scale_drop = drop_;
    return t;
}

Latents random_latents(const EntropyModel& model, Random& random, int height, int width, int rare) {
    Latents out;
    out.height = height;
    out.width = width;
    if (model.hyper_latents() > 0) {
        out.hyper_height = (height + 3) / 4;
        out.hyper_width = (width + 3) / 4;
    }
    const auto fill = [&](std::vector<std::int32_t>& to, int h, int w, int channels, int bits) {
        to.resize(static_cast<std::size_t>(h) * static_cast<std::size_t>(w) * static_cast<std::size_t>(channels));
        for (std::int32_t& v : to) {
            const std::int64_t reach = random(1, rare) == 1 ? kMaxSymbol : 6;
            v = static_cast<std::int32_t>(random(-(reach << bits), reach << bits));
        }
    };
    fill(out.z, out.hyper_height, out.hyper_width, model.hyper_latents(), 0);
    fill(out.y, height, width, model.latents(), model.form() == Form::b ? model.mean_bits() : 0);
    return out;
}

std::vector<std::uint8_t> random_copies(const EntropyModel& model, Random& random, int height, int width) {
    std::vector<std::uint8_t> out;
    const auto add = [&](int h, int w) {
        for (int r = 0; r < h; ++r)
            for (int c = 0; c < w; ++c) {
                const std::int64_t kind = random(1, 4);
                out.push_back(kind == 1 && c > 0 ? 1 : kind == 2 && r > 0 ? 2 : 0);
            }
    };
    if (model.hyper_latents() > 0) add((height + 3) / 4, (width + 3) / 4);
    add(height, width);
    return out;
}

}  // namespace jahp::test
