// SPDX-License-Identifier: Apache-2.0
#include "core/context_decoder.hpp"

#include <algorithm>
#include <chrono>
#include <string>

#include "core/error.hpp"
#include "core/range_coder.hpp"
#include "core/symbol_mix.hpp"

namespace jahp {
namespace {

using Symbol = EntropyModel::Symbol;

constexpr int kBatch = 128;          // positions that the parallel encoder treats together
constexpr std::size_t kChunk = 16;   // most positions of one item of work
constexpr int kMaxLatentSide = 1 << 20;

class Stopwatch {
  public:
    explicit Stopwatch(double* seconds) : seconds_(seconds), start_(Clock::now()) {}
    ~Stopwatch() {
        if (seconds_ != nullptr) *seconds_ += std::chrono::duration<double>(Clock::now() - start_).count();
    }
    Stopwatch(const Stopwatch&) = delete;
    Stopwatch& operator=(const Stopwatch&) = delete;

  private:
    using Clock = std::chrono::steady_clock;
    double* seconds_;
    Clock::time_point start_;
};

double* field(StageTimes* times, double StageTimes::*member) { return times == nullptr ? nullptr : &(times->*member); }

// What decoder and encoder share: the geometry, and the symbols of a batch of positions computed by all threads.
class Pass {
  public:
    Pass(const EntropyModel& model, const StreamLayout& layout, int threads, StageTimes* times)
        : model_(model), layout_(layout), team_(threads), times_(times), scratch_(static_cast<std::size_t>(team_.size())) {}

    void start(const Latents& latents) {
        const Stopwatch watch(field(times_, &StageTimes::h_s));
        hyper_ = model_.hyper_features(latents.z, latents.hyper_height, latents.hyper_width, layout_.height, layout_.width, team_);
        if (model_.context()) context_ = Plane(layout_.height, layout_.width, model_.latents());
    }

    // symbols[p * M + c] of every position, split over the threads.
    std::span<const Symbol> symbols(std::span<const Position> positions) {
        const Stopwatch watch(field(times_, &StageTimes::context));
        const std::size_t m = static_cast<std::size_t>(model_.latents());
        if (symbols_.size() < positions.size() * m) symbols_.resize(positions.size() * m);
        // Small steps make small chunks, so that every thread has one; larger ones read each weight for more positions.
        const std::size_t share = (positions.size() + scratch_.size() - 1) / scratch_.size();
        const std::size_t chunk = std::clamp<std::size_t>((share + 3) / 4 * 4, 4, kChunk);
        const ThreadTeam::Job job = [&](int item, int thread) {
            const std::size_t p = static_cast<std::size_t>(item) * chunk;
            const std::size_t n = std::min(chunk, positions.size() - p);
            model_.symbols(positions.subspan(p, n), hyper_, context_, scratch_[static_cast<std::size_t>(thread)], symbols_.data() + p * m);
        };
        team_.run(static_cast<int>((positions.size() + chunk - 1) / chunk), job);
        return {symbols_.data(), positions.size() * m};
    }

    // Makes position `at` of y known to the context model.
    void reveal(Position at, const std::int32_t* y) {
        if (model_.context()) model_.context_input(y, context_.at(at.row, at.column));
    }

    // ŷ of a symbol that is not coded: the mean, in form A rounded to an integer.
    std::int32_t skipped(const Symbol& symbol) const {
        const std::int32_t half = 1 << model_.mean_bits() >> 1;
        return model_.form() == Form::a ? (symbol.mean + half) >> model_.mean_bits() : symbol.mean;
    }

    std::size_t offset(Position at) const {
        return (static_cast<std::size_t>(at.row) * static_cast<std::size_t>(layout_.width) + static_cast<std::size_t>(at.column)) *
               static_cast<std::size_t>(model_.latents());
    }

  private:
    const EntropyModel& model_;
    const StreamLayout& layout_;
    ThreadTeam team_;
    StageTimes* times_;
    std::vector<EntropyModel::Scratch> scratch_;
    std::vector<Symbol> symbols_;
    Plane hyper_, context_;
};

void check_layout(const StreamLayout& layout, int threads) {
    if (layout.height < 1 || layout.width < 1 || layout.height > kMaxLatentSide || layout.width > kMaxLatentSide)
        throw Error(Fault::usage, "latents of " + std::to_string(layout.width) + "x" + std::to_string(layout.height) + " are impossible");
    if (threads < 1 || threads > 1024) throw Error(Fault::usage, "threads must be 1 to 1024");
    if (layout.skip < 0 || layout.skip > 255) throw Error(Fault::usage, "skip must be 0 to 255");
}

void check_value(std::int64_t value, std::int64_t limit, Fault fault) {
    if (value > limit || value < -limit) throw Error(fault, "latent " + std::to_string(value) + " is beyond " + std::to_string(limit));
}

}  // namespace

std::uint32_t symbol_checksum(std::span<const std::int32_t> z, std::span<const std::int32_t> y) {
    std::uint32_t sum = 0, index = 0;
    for (const std::int32_t v : z) sum += symbol_mix(index++, static_cast<std::uint32_t>(v));
    for (const std::int32_t v : y) sum += symbol_mix(index++, static_cast<std::uint32_t>(v));
    return sum;
}

Latents decode_latents(const EntropyModel& model, std::span<const std::uint8_t> payload, const StreamLayout& layout, int threads,
                       StageTimes* times) {
    check_layout(layout, threads);
    check_lanes(layout.lanes);
    const int m = model.latents(), n = model.hyper_latents(), lane_mask = layout.lanes - 1;
    Latents out;
    out.height = layout.height;
    out.width = layout.width;
    if (n > 0) {
        out.hyper_height = (layout.height + 3) / 4;
        out.hyper_width = (layout.width + 3) / 4;
    }
    const std::size_t y_count = static_cast<std::size_t>(layout.height) * static_cast<std::size_t>(layout.width) * static_cast<std::size_t>(m);
    const std::size_t z_count = static_cast<std::size_t>(out.hyper_height) * static_cast<std::size_t>(out.hyper_width) * static_cast<std::size_t>(n);
    RangeDecoder coder(model.tables(), layout.lanes, payload, y_count + z_count);
    out.z.resize(z_count);
    {
        const Stopwatch watch(field(times, &StageTimes::coder));
        for (std::size_t i = 0; i < z_count;)
            for (int c = 0; c < n; ++c, ++i) out.z[i] = coder.get(c & lane_mask, c);
    }
    out.y.resize(y_count);
    Pass pass(model, layout, threads, times);
    pass.start(out);
    const bool form_a = model.form() == Form::a;
    const int mean_bits = model.mean_bits();
    const std::int64_t limit = form_a ? kMaxSymbol : std::int64_t{kMaxSymbol} << mean_bits;
    const Wavefront order(layout.height, layout.width, model.slope());
    std::vector<Position> positions;
    for (int t = 0; t < order.steps(); ++t) {
        order.step(t, positions);
        const std::span<const Symbol> symbols = pass.symbols(positions);
        const Stopwatch watch(field(times, &StageTimes::coder));
        const Symbol* symbol = symbols.data();
        for (const Position at : positions) {
            std::int32_t* y = out.y.data() + pass.offset(at);
            for (int c = 0; c < m; ++c, ++symbol) {
                if (symbol->scale < layout.skip && model.conditional()) {
                    y[c] = pass.skipped(*symbol);
                    check_value(y[c], limit, Fault::format);
                } else if (form_a) {
                    y[c] = coder.get(c & lane_mask, symbol->row, symbol->mean >> mean_bits);
                } else {
                    const std::int64_t value = (std::int64_t{coder.get(c & lane_mask, symbol->row)} << mean_bits) + symbol->mean;
                    check_value(value, limit, Fault::format);
                    y[c] = static_cast<std::int32_t>(value);
                }
            }
            pass.reveal(at, y);
        }
    }
    coder.finish(layout.min_bytes);
    return out;
}

std::vector<std::uint8_t> encode_latents(const EntropyModel& model, Latents& latents, StreamLayout& layout, int threads,
                                         StageTimes* times) {
    check_layout(layout, threads);
    if (layout.lanes != 0) check_lanes(layout.lanes);
    const int m = model.latents(), n = model.hyper_latents();
    const int hz = n > 0 ? (layout.height + 3) / 4 : 0, wz = n > 0 ? (layout.width + 3) / 4 : 0;
    const auto count = [](int h, int w, int c) { return static_cast<std::size_t>(h) * static_cast<std::size_t>(w) * static_cast<std::size_t>(c); };
    if (latents.height != layout.height || latents.width != layout.width || latents.hyper_height != hz || latents.hyper_width != wz ||
        latents.y.size() != count(layout.height, layout.width, m) || latents.z.size() != count(hz, wz, n))
        throw Error(Fault::usage, "latents do not have the shape that the image size demands");
    RangeEncoder coder(model.tables());
    for (std::size_t i = 0; i < latents.z.size();)
        for (int c = 0; c < n; ++c, ++i) coder.put(c, c, latents.z[i]);

    Pass pass(model, layout, threads, times);
    pass.start(latents);
    const bool form_a = model.form() == Form::a;
    const int mean_bits = model.mean_bits();
    const std::int64_t limit = form_a ? kMaxSymbol : std::int64_t{kMaxSymbol} << mean_bits;
    const bool known = form_a && (layout.skip == 0 || !model.conditional());  // ŷ does not depend on the context
    if (known && model.context())
        for (int r = 0; r < layout.height; ++r)
            for (int c = 0; c < layout.width; ++c) pass.reveal({r, c}, latents.y.data() + pass.offset({r, c}));

    const Wavefront order(layout.height, layout.width, model.slope());
    std::vector<Position> positions;
    for (int t = 0; t < order.steps();) {
        positions.clear();
        do order.append(t++, positions);
        while (known && t < order.steps() && positions.size() < kBatch);
        const std::span<const Symbol> symbols = pass.symbols(positions);
        const Stopwatch watch(field(times, &StageTimes::coder));
        const Symbol* symbol = symbols.data();
        for (const Position at : positions) {
            std::int32_t* y = latents.y.data() + pass.offset(at);
            for (int c = 0; c < m; ++c, ++symbol) {
                if (symbol->scale < layout.skip && model.conditional()) {
                    y[c] = pass.skipped(*symbol);
                    check_value(y[c], limit, Fault::usage);
                } else if (form_a) {
                    coder.put(c, symbol->row, y[c], symbol->mean >> mean_bits);
                } else {
                    const std::int64_t half = std::int64_t{1} << mean_bits >> 1;
                    const std::int64_t residual = (std::int64_t{y[c]} - symbol->mean + half) >> mean_bits;
                    check_value(residual, kMaxSymbol, Fault::usage);
                    coder.put(c, symbol->row, static_cast<std::int32_t>(residual));
                    const std::int64_t value = (residual << mean_bits) + symbol->mean;
                    check_value(value, limit, Fault::usage);
                    y[c] = static_cast<std::int32_t>(value);
                }
            }
            if (!known) pass.reveal(at, y);
        }
    }
    const Stopwatch watch(field(times, &StageTimes::coder));
    if (layout.lanes == 0) layout.lanes = coder.choose_lanes();
    return coder.finish(layout.lanes, layout.min_bytes);
}

}  // namespace jahp
