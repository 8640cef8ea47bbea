// SPDX-License-Identifier: Apache-2.0
#include "core/context_decoder.hpp"

#include <algorithm>
#include <chrono>
#include <string>

#include "core/context_net.hpp"
#include "core/error.hpp"
#include "core/range_coder.hpp"
#include "simd/symbol_checksum.hpp"

namespace jahp {
namespace {

constexpr int kBatch = 128;  // positions that are treated together where none waits for another
constexpr int kMaxLatentSide = 1 << 20;

std::size_t count(int height, int width, int channels) {
    return static_cast<std::size_t>(height) * static_cast<std::size_t>(width) * static_cast<std::size_t>(channels);
}

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

double* field(StageTimes* times, double StageTimes::* member) { return times == nullptr ? nullptr : &(times->*member); }

// The steps of an image in batches: one, where a step waits for the values of the one before, else as many as kBatch
// positions need. While the caller of walk() treats a batch, the team works ahead on the next.
class Steps {
public:
    Steps(const EntropyModel& model, const StreamLayout& layout, bool known, int threads, StageTimes* times)
        : times_(times), single_(model.context() && !known),
          net_(model, layout.height, layout.width, layout.skip, threads, most(model, layout, single_)) {}

    // treat(positions, symbols), for each batch in order. Before it returns, values that later steps need must be
    // revealed.
    template <typename Treat>
    void walk(const Latents& latents, const Treat& treat) {
        {
            const Stopwatch watch(field(times_, &StageTimes::h_s));
            net_.start(latents.z, latents.hyper_height, latents.hyper_width);
        }
        const int steps = net_.order().steps();
        int t = prepare(0);
        {
            const Stopwatch watch(field(times_, &StageTimes::ahead));
            net_.begin_ahead();
            net_.finish_ahead();
        }
        for (bool last = false; !last;) {
            std::span<const Symbol> symbols;
            {
                const Stopwatch watch(field(times_, &StageTimes::context));
                symbols = net_.symbols();
            }
            last = t == steps;
            if (!last) {
                const Stopwatch watch(field(times_, &StageTimes::ahead));
                t = prepare(t);
                net_.begin_ahead();
            }
            {
                const Stopwatch watch(field(times_, &StageTimes::coder));
                treat(net_.positions(), symbols);
            }
            const Stopwatch watch(field(times_, &StageTimes::ahead));
            net_.finish_ahead();
        }
    }

    ContextNet& net() { return net_; }

private:
    static int most(const EntropyModel& model, const StreamLayout& layout, bool single) {
        const int slope = model.slope(),
                  step = slope == 0 ? layout.width : std::min(layout.height, (layout.width + slope - 1) / slope);
        const std::int64_t all = std::int64_t{layout.height} * layout.width;
        return single ? step : static_cast<int>(std::min<std::int64_t>(step + kBatch, all));
    }

    int prepare(int t) {
        const Wavefront& order = net_.order();
        int end = t + 1;
        for (int n = order.count(t); !single_ && n < kBatch && end < order.steps(); ++end) n += order.count(end);
        net_.prepare(t, end);
        return end;
    }

    StageTimes* times_;
    bool single_;
    ContextNet net_;
};

// ŷ of a symbol that is not coded: the mean, in form A rounded to an integer.
std::int32_t skipped(const EntropyModel& model, const Symbol& symbol) {
    const std::int32_t half = 1 << model.mean_bits() >> 1;
    return model.form() == Form::a ? (symbol.mean + half) >> model.mean_bits() : symbol.mean;
}

std::size_t offset(const EntropyModel& model, const StreamLayout& layout, Position at) {
    return (static_cast<std::size_t>(at.row) * static_cast<std::size_t>(layout.width) +
            static_cast<std::size_t>(at.column)) *
           static_cast<std::size_t>(model.latents());
}

void reveal_all(const EntropyModel& model, const StreamLayout& layout, const Latents& latents, ContextNet& net) {
    for (int r = 0; r < layout.height; ++r)
        for (int c = 0; c < layout.width; ++c) net.reveal({r, c}, latents.y.data() + offset(model, layout, {r, c}));
}

// Which positions of a map of height x width x channels are copied, by StreamLayout::copies from `first` on.
class Copies {
public:
    Copies(const std::vector<std::uint8_t>& copies, std::size_t first, int width, int channels)
        : kinds_(copies.empty() ? nullptr : copies.data() + first), width_(width), channels_(channels) {}

    bool any() const { return kinds_ != nullptr; }
    bool holds(Position at) const { return any() && kind(at) != 0; }
    // The neighbour whose values those at `at` are.
    Position source(Position at) const {
        return kind(at) == 1 ? Position{at.row, at.column - 1} : Position{at.row - 1, at.column};
    }
    // Writes the channels at `at`, which stand at `values`.
    void apply(Position at, std::int32_t* values) const {
        const std::ptrdiff_t back = kind(at) == 1 ? channels_ : std::ptrdiff_t{channels_} * width_;
        std::copy_n(values - back, channels_, values);
    }
    void apply_all(int height, std::int32_t* values) const {
        for (int r = 0; r < height && any(); ++r)
            for (int c = 0; c < width_; ++c)
                if (holds({r, c})) apply({r, c}, values + (std::ptrdiff_t{r} * width_ + c) * channels_);
    }

private:
    std::uint8_t kind(Position at) const { return kinds_[std::ptrdiff_t{at.row} * width_ + at.column]; }

    const std::uint8_t* kinds_;
    int width_, channels_;
};

void check_copies(std::span<const std::uint8_t> copies, int height, int width) {
    for (std::ptrdiff_t i = 0; i < std::ptrdiff_t{height} * width; ++i) {
        const int kind = copies[static_cast<std::size_t>(i)];
        if (kind > 2 || (kind == 1 && i % width == 0) || (kind == 2 && i < width))
            throw Error(Fault::usage, "a position is a copy of none that there is");
    }
}

void check_copies(const EntropyModel& model, const StreamLayout& layout) {
    if (layout.copies.empty()) return;
    const bool hyper = model.hyper_latents() > 0;
    const int hz = hyper ? (layout.height + 3) / 4 : 0, wz = hyper ? (layout.width + 3) / 4 : 0;
    const std::size_t z = static_cast<std::size_t>(hz) * static_cast<std::size_t>(wz);
    if (layout.copies.size() != z + static_cast<std::size_t>(layout.height) * static_cast<std::size_t>(layout.width))
        throw Error(Fault::usage, "copies must have one element a position");
    const std::span<const std::uint8_t> copies = layout.copies;
    check_copies(copies.first(z), hz, wz);
    check_copies(copies.subspan(z), layout.height, layout.width);
}

void check_layout(const EntropyModel& model, const StreamLayout& layout, int threads) {
    if (layout.height < 1 || layout.width < 1 || layout.height > kMaxLatentSide || layout.width > kMaxLatentSide)
        throw Error(Fault::usage, "latents of " + std::to_string(layout.width) + "x" + std::to_string(layout.height) +
                                      " are impossible");
    if (threads < 1 || threads > 1024) throw Error(Fault::usage, "threads must be 1 to 1024");
    if (layout.skip < 0 || layout.skip > 255) throw Error(Fault::usage, "skip must be 0 to 255");
    if (layout.z_row < 0 || layout.z_row > model.tables().rows() - model.hyper_latents())
        throw Error(Fault::usage, "z_row must be a row of the tables with those of z behind it");
}

void check_shape(const EntropyModel& model, const Latents& latents, const StreamLayout& layout) {
    const int m = model.latents(), n = model.hyper_latents();
    const int hz = n > 0 ? (layout.height + 3) / 4 : 0, wz = n > 0 ? (layout.width + 3) / 4 : 0;
    if (latents.height != layout.height || latents.width != layout.width || latents.hyper_height != hz ||
        latents.hyper_width != wz || latents.y.size() != count(layout.height, layout.width, m) ||
        latents.z.size() != count(hz, wz, n))
        throw Error(Fault::usage, "latents do not have the shape that the image size demands");
}

void check_value(std::int64_t value, std::int64_t limit, Fault fault) {
    if (value > limit || value < -limit)
        throw Error(fault, "latent " + std::to_string(value) + " is beyond " + std::to_string(limit));
}

Copies copies_of_y(const EntropyModel& model, const StreamLayout& layout) {
    const bool hyper = model.hyper_latents() > 0;
    const std::size_t z = hyper ? static_cast<std::size_t>((layout.height + 3) / 4) *
                                      static_cast<std::size_t>((layout.width + 3) / 4)
                                : 0;
    return {layout.copies, z, layout.width, model.latents()};
}

// ŷ of the positions decoded last, as many as may still be copied.
class Recent {
public:
    Recent(const EntropyModel& model, const StreamLayout& layout)
        : rows_(2), columns_(layout.width), channels_(model.latents()) {
        if (const int slope = model.slope(); slope > 0) {  // the row above is `slope` columns ahead
            rows_ = std::min(layout.height, (layout.width + slope - 1) / slope + 1);
            columns_ = std::min(layout.width, slope + 1);
        }
        values_.resize(count(rows_, columns_, channels_));
    }

    std::int32_t* at(Position at) {
        return values_.data() +
               static_cast<std::ptrdiff_t>(at.row % rows_ * columns_ + at.column % columns_) * channels_;
    }

private:
    int rows_, columns_, channels_;
    std::vector<std::int32_t> values_;
};

// Decodes z and the sizes into `out`, and hands y over: sink.begin() once what the payload says of itself has been
// checked, then sink.take(at, values) for each position.
template <typename Sink>
void decode_to(Sink sink, const EntropyModel& model, std::span<const std::uint8_t> payload, const StreamLayout& layout,
               int threads, Latents& out, StageTimes* times, const RowsFinal& rows_final) {
    check_layout(model, layout, threads);
    check_lanes(layout.lanes);
    check_copies(model, layout);
    const int m = model.latents(), n = model.hyper_latents();
    out.height = layout.height;
    out.width = layout.width;
    if (n > 0) {
        out.hyper_height = (layout.height + 3) / 4;
        out.hyper_width = (layout.width + 3) / 4;
    }
    const std::size_t z_count = count(out.hyper_height, out.hyper_width, n);
    RangeDecoder coder(model.tables(), layout.lanes, payload, count(layout.height, layout.width, m) + z_count,
                       model.isa());
    out.z.resize(z_count);
    sink.begin();
    {
        const Stopwatch watch(field(times, &StageTimes::coder));
        const Copies copies(layout.copies, 0, out.hyper_width, n);
        std::vector<Symbol> rows;
        for (int c = 0; c < n; ++c) rows.push_back({layout.z_row + c, 0});
        std::int32_t* z = out.z.data();
        for (int r = 0; r < out.hyper_height; ++r)
            for (int c = 0; c < out.hyper_width; ++c, z += n)
                if (copies.holds({r, c}))
                    copies.apply({r, c}, z);
                else
                    coder.run(rows.data(), n, 0, false, z);
    }
    Steps steps(model, layout, false, threads, times);
    const bool form_a = model.form() == Form::a;
    const int mean_bits = model.mean_bits();
    const std::int64_t limit = form_a ? kMaxSymbol : std::int64_t{kMaxSymbol} << mean_bits;
    const Copies copies = copies_of_y(model, layout);
    Recent recent(model, layout);
    int final = 0;
    steps.walk(out, [&](std::span<const Position> positions, std::span<const Symbol> symbols) {
        const Symbol* symbol = symbols.data();
        for (const Position at : positions) {
            std::int32_t* y = recent.at(at);
            if (copies.holds(at)) {
                std::copy_n(recent.at(copies.source(at)), m, y);
            } else {
                coder.run(symbol, m, mean_bits, form_a, y);
                for (int c = 0; c < m && (!form_a || layout.skip > 0);
                     ++c) {  // what the coder gave is ŷ but for form B and skipped symbols
                    std::int64_t value = y[c];
                    if (symbol[c].row < 0)
                        value = skipped(model, symbol[c]);
                    else if (!form_a)
                        value = (value << mean_bits) + symbol[c].mean;
                    check_value(value, limit, Fault::format);
                    y[c] = static_cast<std::int32_t>(value);
                }
            }
            symbol += m;
            steps.net().reveal(at, y);
            sink.take(at, y);
        }
        if (!rows_final || positions.empty()) return;
        final = std::max(final, steps.net().order().rows_done(positions.back()));
        rows_final(final);
    });
    coder.finish(layout.min_bytes);
}

}  // namespace

std::uint32_t symbol_checksum(std::span<const std::int32_t> z, std::span<const std::int32_t> y) {
    static const SymbolChecksum checksum = symbol_checksum_for(best_isa());
    return checksum(z.data(), z.size(), 0) + checksum(y.data(), y.size(), static_cast<std::uint32_t>(z.size()));
}

Latents decode_latents(const EntropyModel& model, std::span<const std::uint8_t> payload, const StreamLayout& layout,
                       int threads, StageTimes* times) {
    Latents out;
    decode_latents(model, payload, layout, threads, out, times, {});
    return out;
}

void decode_latents(const EntropyModel& model, std::span<const std::uint8_t> payload, const StreamLayout& layout,
                    int threads, Latents& out, StageTimes* times, const RowsFinal& rows_final) {
    struct Sink {
        const EntropyModel& model;
        const StreamLayout& layout;
        std::vector<std::int32_t>& values;
        void begin() { values.resize(count(layout.height, layout.width, model.latents())); }
        void take(Position at, const std::int32_t* y) {
            std::copy_n(y, model.latents(), values.data() + offset(model, layout, at));
        }
    };
    out = {};
    decode_to(Sink{model, layout, out.y}, model, payload, layout, threads, out, times, rows_final);
}

std::uint32_t decode_latents(const EntropyModel& model, std::span<const std::uint8_t> payload,
                             const StreamLayout& layout, int threads, const TakeLatents& take,
                             const RowsFinal& rows_final) {
    Latents hyper;
    std::uint32_t sum = 0;
    struct Sink {
        const EntropyModel& model;
        const StreamLayout& layout;
        const TakeLatents& hand_over;
        const std::vector<std::int32_t>& z;
        std::uint32_t& sum;
        const SymbolChecksum checksum = symbol_checksum_for(model.isa());
        void begin() {}
        void take(Position at, const std::int32_t* y) {
            const auto m = static_cast<std::size_t>(model.latents());
            sum += checksum(y, m, static_cast<std::uint32_t>(z.size() + offset(model, layout, at)));
            hand_over(at, {y, m});
        }
    };
    decode_to(Sink{model, layout, take, hyper.z, sum}, model, payload, layout, threads, hyper, nullptr, rows_final);
    return sum + symbol_checksum_for(model.isa())(hyper.z.data(), hyper.z.size(), 0);
}

std::vector<std::uint8_t> encode_latents(const EntropyModel& model, Latents& latents, StreamLayout& layout, int threads,
                                         StageTimes* times, const Poll& poll) {
    check_layout(model, layout, threads);
    if (layout.lanes != 0) check_lanes(layout.lanes);
    check_copies(model, layout);
    const int m = model.latents(), n = model.hyper_latents();
    check_shape(model, latents, layout);
    RangeEncoder coder(model.tables());
    const Copies z_copies(layout.copies, 0, latents.hyper_width, n), copies = copies_of_y(model, layout);
    z_copies.apply_all(latents.hyper_height, latents.z.data());
    const std::int32_t* z = latents.z.data();
    for (int r = 0; r < latents.hyper_height; ++r)
        for (int q = 0; q < latents.hyper_width; ++q, z += n)
            for (int c = 0; c < n && !z_copies.holds({r, q}); ++c) coder.put(c, layout.z_row + c, z[c]);

    const bool form_a = model.form() == Form::a;
    const int mean_bits = model.mean_bits();
    const std::int64_t limit = form_a ? kMaxSymbol : std::int64_t{kMaxSymbol} << mean_bits;
    const bool known = form_a && (layout.skip == 0 || !model.conditional());  // ŷ does not depend on the context
    Steps steps(model, layout, known, threads, times);
    if (known) copies.apply_all(layout.height, latents.y.data());
    if (known) reveal_all(model, layout, latents, steps.net());
    steps.walk(latents, [&](std::span<const Position> positions, std::span<const Symbol> symbols) {
        const Symbol* symbol = symbols.data();
        for (const Position at : positions) {
            std::int32_t* y = latents.y.data() + offset(model, layout, at);
            const bool copied = copies.holds(at);
            if (copied && !known) copies.apply(at, y);
            for (int c = 0, rank = 0; c < m; ++c, ++symbol) {
                if (copied) continue;
                if (symbol->row < 0) {
                    y[c] = skipped(model, *symbol);
                    check_value(y[c], limit, Fault::usage);
                } else if (form_a) {
                    coder.put(rank++, symbol->row, y[c], symbol->mean >> mean_bits);
                } else {
                    const std::int64_t half = std::int64_t{1} << mean_bits >> 1;
                    const std::int64_t residual = (std::int64_t{y[c]} - symbol->mean + half) >> mean_bits;
                    check_value(residual, kMaxSymbol, Fault::usage);
                    coder.put(rank++, symbol->row, static_cast<std::int32_t>(residual));
                    const std::int64_t value = (residual << mean_bits) + symbol->mean;
                    check_value(value, limit, Fault::usage);
                    y[c] = static_cast<std::int32_t>(value);
                }
            }
            if (!known) steps.net().reveal(at, y);
        }
        if (poll) poll();
    });
    const Stopwatch watch(field(times, &StageTimes::coder));
    if (layout.lanes == 0) layout.lanes = coder.choose_lanes();
    return coder.finish(layout.lanes, layout.min_bytes);
}

std::vector<Symbol> symbols_of(const EntropyModel& model, const Latents& latents, int threads, const Poll& poll) {
    const StreamLayout layout{latents.height, latents.width, 1, 0, 0};
    check_layout(model, layout, threads);
    check_shape(model, latents, layout);
    if (model.form() != Form::a) throw Error(Fault::usage, "in form B the symbols depend on each other");
    for (const std::int32_t value : latents.y) check_value(value, kMaxSymbol, Fault::usage);
    for (const std::int32_t value : latents.z) check_value(value, kMaxSymbol, Fault::usage);
    Steps steps(model, layout, true, threads, nullptr);
    reveal_all(model, layout, latents, steps.net());
    std::vector<Symbol> out(latents.y.size());
    const auto m = static_cast<std::size_t>(model.latents());
    steps.walk(latents, [&](std::span<const Position> positions, std::span<const Symbol> symbols) {
        const Symbol* symbol = symbols.data();
        for (const Position at : positions) {
            std::copy_n(symbol, m, out.begin() + static_cast<std::ptrdiff_t>(offset(model, layout, at)));
            symbol += m;
        }
        if (poll) poll();
    });
    return out;
}

}  // namespace jahp
