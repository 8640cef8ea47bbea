// SPDX-License-Identifier: Apache-2.0
#include "tests/random_stream.hpp"

#include <algorithm>
#include <utility>

#include "core/crc32c.hpp"
#include "core/range_coder.hpp"

namespace jahp::test {
namespace {

constexpr std::int64_t kMostSum = (std::int64_t{1} << 31) - 1;
constexpr std::int32_t kMostMul = 0x7fffffff;
constexpr int kMostShift = 62;
constexpr std::int32_t kMostZero = 4095;
// Form B and skipping refuse values beyond 32767: means within the first limit and latents within the second stay clear
// of that.
constexpr std::int64_t kBoundedMean = 8192, kBoundedLatent = 24000;
constexpr int kFullSize = 60;  // of each 125 streams: this one has the widths of the paper's largest model
constexpr int kScaleSpread = 1000, kMeanSpread = 3;

std::int64_t square_root(std::int64_t n) {
    std::int64_t r = 0;
    while ((r + 1) * (r + 1) <= n) ++r;
    return r;
}

// mul / 2^shift just below a / b, with 30 significant bits where the shift allows.
void multiplier(std::int64_t a, std::int64_t b, std::int32_t& mul, std::int32_t& shift) {
    std::int64_t quotient = a / b, rest = a % b;
    for (shift = 0; quotient < 1 << 30 && shift < kMostShift; ++shift) {
        rest *= 2;
        quotient = 2 * quotient + (rest >= b ? 1 : 0);
        if (rest >= b) rest -= b;
    }
    shift = std::max(shift, 1);
    mul = static_cast<std::int32_t>(std::min<std::int64_t>(quotient, kMostMul));
}

template <typename T, std::size_t N>
T pick(Draw& draw, const T (&from)[N]) {
    return from[draw.operator()<std::size_t>(0, static_cast<std::int64_t>(N) - 1)];
}

int near(Draw& draw, int size) { return std::max(1, size * draw(50, 150) / 100); }

}  // namespace

std::uint64_t Draw::next() {
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

struct RandomStream::LayerPlan {
    std::string name;
    int outputs, inputs, kernel;
    int groups;              // the cells that are summed together: 1 all, 2 the causal ones, 4 each of four phases
    bool parameters = false;  // the last layer: M scales, then M means if there are any
};

// Any 20 streams in a row hold every class, and joint ones twice.
int RandomStream::class_of(std::uint32_t number) {
    constexpr int classes = static_cast<int>(kStreamClasses.size()), joint = 4;
    const auto turn = static_cast<int>(number % 20);
    return turn < classes ? turn : turn % joint;
}

RandomStream::RandomStream(std::uint32_t number) : number_(number) {
    Draw draw(number);
    draw_shape(draw);
    draw_layers(draw);
    if (kind().context) draw_context_input(draw);
    rows_ = n_ + (kind().factorized() ? m_ : 0);
    if (!kind().factorized()) draw_scales(draw);
    draw_tables(draw);
    draw_latents(draw);
}

void RandomStream::draw_shape(Draw& draw) {
    class_ = class_of(number_);
    extremes_ = pick(draw, {Extremes::typical, Extremes::typical, Extremes::saturated, Extremes::edge});
    limit_ = kind().activation_bits == 8 ? 127 : 4095;
    kernel_ = pick(draw, {5, 5, 5, 3, 7});
    mean_bits_ = draw(0, 8);
    z_bits_ = draw.one_in(2) ? 0 : draw(0, 8);
    prob_bits_ = draw(15, 16);
    layout_.lanes = pick(draw, {0, 1, 2, 4, 8, 16, 32, 64});
    layout_.skip = draw.one_in(3) ? draw(1, 4) : 0;
    layout_.min_bytes = draw.one_in(8) ? draw.operator()<std::size_t>(1, 5000) : 0;
    int most = 40;
    switch (draw(0, 9)) {
        case 0:
        case 1:
        case 2:
        case 3:
        case 4:
            layout_.height = draw(1, 12);
            layout_.width = draw(1, 12);
            break;
        case 5:
        case 6:
            layout_.height = draw(1, 3);
            layout_.width = draw(1, 150);
            if (draw.one_in(2)) std::swap(layout_.height, layout_.width);
            most = 12;
            break;
        case 7:
        case 8:
            layout_.height = draw(10, 40);
            layout_.width = draw(10, 40);
            most = 12;
            break;
        default:  // steps of many positions
            layout_.height = draw(30, 64);
            layout_.width = draw(100, 200);
            most = 4;
    }
    m_ = draw(1, most);
    n_ = draw(1, most);
    if (number_ % 125 == kFullSize) {
        layout_.height = draw(2, 4);
        layout_.width = draw(5, 9);
        m_ = 320;
        n_ = 192;
    } else if (most == 40 && draw.one_in(6)) {
        layout_.height = std::min(layout_.height, 7);
        m_ = pick(draw, {53, 64, 65, 96, 107, 128, 131});
        n_ = pick(draw, {33, 53, 64, 107});
    }
    if (!kind().hyper) n_ = 0;
}

RandomStream::Layer RandomStream::draw_layer(Draw& draw, const LayerPlan& plan) const {
    Layer out;
    out.name = plan.name;
    out.outputs = plan.outputs;
    out.inputs = plan.inputs;
    out.kernel = plan.kernel;
    const int area = plan.kernel * plan.kernel;
    const auto group_of = [&](int cell) {  // -1: no cell of a sum
        if (plan.groups == 2) return cell < area / 2 ? 0 : -1;
        return plan.groups == 4 ? cell / plan.kernel % 2 * 2 + cell % plan.kernel % 2 : 0;
    };
    const int summed = plan.inputs * (plan.groups == 1 ? area : plan.groups == 2 ? area / 2 : (area + 3) / 4);
    // Weights have a deviation of 73, and inputs spread over ±limit one of limit / sqrt(3); some are clamped, hence
    // the 3.
    const std::int64_t deviation = square_root(summed) * 73 * limit_ / 3;
    for (int o = 0; o < plan.outputs; ++o) {
        const bool mean = plan.parameters && o >= m_;
        const bool edge = extremes_ == Extremes::edge && draw.one_in(2);
        const int signs = edge ? draw(0, 2) : 3;  // ±127 at random, all +127, all -127, anything
        std::int64_t reach[4] = {};
        for (int i = 0; i < plan.inputs; ++i)
            for (int cell = 0; cell < area; ++cell) {
                const int w = signs == 3 ? draw(-127, 127) : signs == 1 || (signs == 0 && draw.one_in(2)) ? 127 : -127;
                out.weight.push_back(static_cast<std::int8_t>(w));
                if (group_of(cell) >= 0) reach[group_of(cell)] += std::int64_t{w < 0 ? -w : w} * limit_;
            }
        const std::int64_t most = *std::max_element(reach, reach + 4);
        const std::int64_t room = kMostSum - most;
        std::int64_t bias = draw.operator()<std::int64_t>(-deviation, deviation);
        const std::int32_t offset = plan.parameters ? 20 : limit_ / 6;
        std::int32_t mul = 0, shift = 0, zero = draw(-offset, offset);
        const std::int64_t spread = mean              ? std::int64_t{kMeanSpread} << mean_bits_
                                    : plan.parameters ? kScaleSpread
                                                      : limit_ * 3 / 4;
        multiplier(spread * (extremes_ == Extremes::saturated ? 50 : 1) * draw(40, 120), deviation * 100, mul, shift);
        const int coarser = draw(0, std::min(8, shift - 1));
        mul >>= coarser;
        shift -= coarser;
        auto negative = static_cast<std::int32_t>(std::int64_t{mul} * draw(0, 4) / 4);
        if (edge) {
            bias = draw.one_in(4) ? bias : draw.one_in(2) ? room : -room;
            const std::int32_t some = draw(0, kMostMul);
            mul = pick(draw, {0, 1, kMostMul, some, mul, mul});
            negative = pick(draw, {0, 1, kMostMul, some, negative, negative});
            shift = pick(draw, {1, 31, kMostShift, shift, shift});
            zero = pick(draw, {0, kMostZero, -kMostZero, zero});
        }
        if (mean && bounded_means()) {
            const std::int64_t sum = most + (bias < 0 ? -bias : bias);
            while ((sum * std::max(mul, negative) >> shift) + kMostZero + 1 > kBoundedMean << mean_bits_) {
                if (shift < kMostShift) {
                    ++shift;
                } else {
                    mul /= 2;
                    negative /= 2;
                }
            }
        }
        out.bias.push_back(static_cast<std::int32_t>(bias));
        out.mul_pos.push_back(mul);
        out.mul_neg.push_back(negative);
        out.shift.push_back(shift);
        out.zero.push_back(zero);
    }
    return out;
}

void RandomStream::draw_layers(Draw& draw) {
    const auto layer = [&](const LayerPlan& plan) { return draw_layer(draw, plan); };
    const int outputs = kind().means ? 2 * m_ : m_;
    if (kind().hyper) {
        const int a = near(draw, m_), b = near(draw, m_ + m_ / 2), c = near(draw, 2 * m_);
        h_s_.push_back(layer({"h_s.0", a, n_, 5, 4}));
        h_s_.push_back(layer({"h_s.2", b, a, 5, 4}));
        if (kind().context)
            h_s_.push_back(layer({"h_s.4", c, b, 3, 1}));
        else
            h_s_.push_back(layer({"h_s.4", outputs, b, 3, 1, true}));
        const int reach = extremes_ == Extremes::edge ? (1 << 20) - 1 : 1 << z_bits_;
        for (int c_z = 0; c_z < n_; ++c_z) z_offset_.push_back(draw(-reach, reach));
    }
    if (!kind().context) return;
    const int c = near(draw, 2 * m_), d = near(draw, m_ * 10 / 3), e = near(draw, m_ * 8 / 3);
    context_.push_back(layer({"context_prediction", c, m_, kernel_, 2}));
    parameters_.push_back(layer({"entropy_parameters.0", d, (kind().hyper ? h_s_.back().outputs : 0) + c, 1, 1}));
    parameters_.push_back(layer({"entropy_parameters.2", e, d, 1, 1}));
    parameters_.push_back(layer({"entropy_parameters.4", outputs, e, 1, 1, true}));
}

void RandomStream::draw_context_input(Draw& draw) {
    const int bits = kind().form == Form::b ? mean_bits_ : 0;
    for (int c = 0; c < m_; ++c) {
        if (extremes_ == Extremes::edge && draw.one_in(2)) {
            mul_.push_back(draw(-32768, 32768));
            shift_.push_back(draw(0, 31));
            add_.push_back(draw.one_in(2) ? draw(0, kMostMul) : -draw(0, kMostMul));
        } else {
            mul_.push_back(draw(-limit_ / 3, limit_ / 3));
            shift_.push_back(draw(0, 3) + bits);
            add_.push_back(1 << shift_.back() >> 1);
        }
    }
}

void RandomStream::draw_scales(Draw& draw) {
    const int scales = pick(draw, {1, 2, 4, 6, 6, 20, 64});
    for (int s = 1; s < scales; ++s) thresholds_.push_back(draw(-2 * kScaleSpread, 2 * kScaleSpread));
    if (extremes_ == Extremes::edge)
        for (auto& t : thresholds_)
            if (draw.one_in(4))
                t = pick(draw,
                         {-EntropyModel::kParameterLimit, EntropyModel::kParameterLimit, -kMostMul - 1, kMostMul});
    std::sort(thresholds_.begin(), thresholds_.end());
    for (int s = 0; s < scales; ++s) {
        const int fraction = std::min(mean_bits_, draw(0, scales > 6 ? 3 : 5));
        const bool fractions = kind().form == Form::a && kind().means;
        scale_drop_.push_back(mean_bits_ - fraction);
        scale_row_.push_back(rows_);
        rows_ += fractions ? 1 << fraction : 1;
    }
}

void RandomStream::draw_tables(Draw& draw) {
    const std::int32_t top = (1 << prob_bits_) - 1;
    std::vector<std::uint16_t> row;
    for (std::int32_t r = 0; r < rows_; ++r) {
        const int size = draw.one_in(12) ? 1 : draw.one_in(40) ? draw(100, 400) : draw(2, 40);
        row.assign(1, 0);
        if (draw.one_in(4)) {  // all but one entry have a frequency of 1
            const int wide = draw(0, size);
            for (int k = 1; k <= size; ++k) row.push_back(static_cast<std::uint16_t>(k <= wide ? k : top - size + k));
        } else {
            while (row.size() <= static_cast<std::size_t>(size)) {
                row.push_back(draw.operator()<std::uint16_t>(1, top));
                if (row.size() <= static_cast<std::size_t>(size)) continue;
                std::sort(row.begin(), row.end());
                row.erase(std::unique(row.begin(), row.end()), row.end());
            }
        }
        table_low_.push_back(draw.one_in(40) ? pick(draw, {-65535, 65535}) : -size / 2 + draw(-2, 2));
        table_size_.push_back(size);
        table_starts_.insert(table_starts_.end(), row.begin(), row.end());
    }
}

void RandomStream::draw_latents(Draw& draw) {
    latents_.height = layout_.height;
    latents_.width = layout_.width;
    latents_.hyper_height = kind().hyper ? (layout_.height + 3) / 4 : 0;
    latents_.hyper_width = kind().hyper ? (layout_.width + 3) / 4 : 0;
    const int rare = pick(draw, {5, 40, 1 << 30}), usual = pick(draw, {1, 3, 6});
    const auto fill = [&](std::vector<std::int32_t>& to, int count, std::int64_t most, int bits) {
        for (int i = 0; i < count; ++i) {
            const std::int64_t reach = draw.one_in(rare) ? most : usual;
            to.push_back(draw(-(reach << bits), reach << bits));
        }
    };
    const bool b = kind().form == Form::b;
    fill(latents_.z, latents_.hyper_height * latents_.hyper_width * n_, kMaxSymbol, 0);
    fill(latents_.y, layout_.height * layout_.width * m_, b ? kBoundedLatent : kMaxSymbol, b ? mean_bits_ : 0);
}

EntropyTensors RandomStream::tensors() const {
    EntropyTensors t;
    t.latents = m_;
    t.hyper_latents = n_;
    t.conditional = !kind().factorized();
    t.means = kind().means;
    t.context = kind().context;
    t.form = kind().form;
    t.activation_bits = kind().activation_bits;
    t.mean_bits = mean_bits_;
    t.z_bits = z_bits_;
    t.prob_bits = prob_bits_;
    const auto views = [](const std::deque<Layer>& from) {
        std::vector<LayerTensors> out;
        for (const Layer& l : from)
            out.push_back(
                {l.name, l.outputs, l.inputs, l.kernel, l.weight, l.bias, l.mul_pos, l.mul_neg, l.shift, l.zero});
        return out;
    };
    t.h_s = views(h_s_);
    t.context_prediction = views(context_);
    t.entropy_parameters = views(parameters_);
    t.context_mul = mul_;
    t.context_add = add_;
    t.context_shift = shift_;
    t.z_offset = z_offset_;
    t.table_low = table_low_;
    t.table_size = table_size_;
    t.table_starts = table_starts_;
    t.scale_thresholds = thresholds_;
    t.scale_row = scale_row_;
    t.scale_drop = scale_drop_;
    return t;
}

std::string RandomStream::describe() const {
    constexpr const char* extremes[] = {"typical", "saturated", "edge"};
    return std::string(kind().name) + ", " + extremes[static_cast<int>(extremes_)] + ", M " + std::to_string(m_) +
           ", N " + std::to_string(n_) + ", " + std::to_string(layout_.width) + "x" + std::to_string(layout_.height) +
           " latents, " + std::to_string(layout_.lanes) + " lanes, skip " + std::to_string(layout_.skip);
}

std::uint32_t RandomStream::digest(std::uint32_t crc) const {
    const auto rest = static_cast<std::int32_t>(layout_.min_bytes);
    crc = crc_of({class_, m_, n_, kernel_, mean_bits_, z_bits_, prob_bits_, layout_.height, layout_.width,
                  layout_.lanes, layout_.skip, rest},
                 crc);
    for (const std::deque<Layer>* layers : {&h_s_, &context_, &parameters_})
        for (const Layer& l : *layers) {
            crc = crc_of({l.weight.begin(), l.weight.end()}, crc);
            for (const auto* values : {&l.bias, &l.mul_pos, &l.mul_neg, &l.shift, &l.zero}) crc = crc_of(*values, crc);
        }
    for (const auto* values : {&mul_, &add_, &shift_, &z_offset_, &thresholds_, &scale_row_, &scale_drop_, &table_low_,
                               &table_size_, &latents_.z, &latents_.y})
        crc = crc_of(*values, crc);
    return crc_of({table_starts_.begin(), table_starts_.end()}, crc);
}

std::uint32_t crc_of(const std::vector<std::int32_t>& values, std::uint32_t crc) {
    std::vector<std::uint8_t> bytes;
    bytes.reserve(4 * values.size());
    for (const std::int32_t v : values)
        for (int i = 0; i < 4; ++i)
            bytes.push_back(static_cast<std::uint8_t>(static_cast<std::uint32_t>(v) >> (8 * i)));
    return crc32c(bytes, crc);
}

}  // namespace jahp::test
