// SPDX-License-Identifier: Apache-2.0
#include "library/model_check.hpp"

#include <algorithm>
#include <cstdlib>

#include "core/entropy_tensors.hpp"
#include "core/error.hpp"
#include "library/joined.hpp"

namespace jahp {
namespace {

constexpr std::int64_t kMostChannels = 1 << 14;  // outputs of a layer: twice the scales and means of the widest latents
constexpr std::size_t kMostScales = 1 << 16, kMostRows = 1 << 16, kMostStarts = 1 << 24;

enum class Kind { transposed, dense, conv, masked };

void require(bool holds, const std::string& what) {
    if (!holds) throw Error(Fault::model, what);
}

bool possible_kernel(Kind kind, std::int64_t k) {
    switch (kind) {
        case Kind::transposed:
            return k == 5;
        case Kind::dense:
            return k == 1;
        case Kind::conv:
            return k == 3;
        case Kind::masked:
            break;
    }
    return k >= 3 && k < 16 && k % 2 == 1;
}

// Whether a cell of the kernel is among those that are summed together: all, the causal half, or those of a phase.
bool in_sum(Kind kind, std::int64_t k, std::int64_t row, std::int64_t column, int phase) {
    if (kind == Kind::transposed) return row % 2 == phase / 2 && column % 2 == phase % 2;
    return kind != Kind::masked || row * k + column < k * k / 2;
}

class Checked {
public:
    explicit Checked(const Tensors& tensors) : tensors_(tensors) {}

    bool has(const std::string& name) const { return tensors_.contains(name); }

    template <typename T>
    std::span<const T> take(const std::string& name, const std::vector<std::int64_t>& shape) const {
        return tensor<T>(name, shape).template values<T>();
    }

    void within(const std::string& name, std::int64_t length, std::int32_t low, std::int32_t high) const {
        const std::span<const std::int32_t> values = take<std::int32_t>(name, {length});
        require(std::all_of(values.begin(), values.end(), [&](std::int32_t v) { return v >= low && v <= high; }),
                name + " is out of range: it is not in " + std::to_string(low) + ".." + std::to_string(high));
    }

    // Checks one layer and returns its number of outputs.
    std::int64_t layer(const std::string& name, std::int64_t inputs, std::int64_t outputs, Kind kind,
                       std::int64_t limit) const {
        const Tensor& weight = tensor<std::int8_t>(name + ".weight", {outputs, inputs, kAny, kAny});
        const std::span<const std::int8_t> weights = weight.values<std::int8_t>();
        const std::int64_t n = weight.shape[0], k = weight.shape[2], width = weight.shape[3];
        require(k == width && possible_kernel(kind, k),
                name + ".weight has an impossible kernel of " + std::to_string(k) + " x " + std::to_string(width));
        require(n <= kMostChannels, name + " has " + std::to_string(n) + " outputs; 16384 are the most");
        require(std::find(weights.begin(), weights.end(), -128) == weights.end(), name + ": weight of -128");
        const auto bias = take<std::int32_t>(name + ".bias", {n});
        for (const char* part : {".mul_pos", ".mul_neg"}) {
            const auto mul = take<std::int32_t>(name + part, {n});
            require(std::all_of(mul.begin(), mul.end(), [](std::int32_t m) { return m >= 0; }),
                    name + ": multiplier is negative");
        }
        const auto shift = take<std::int32_t>(name + ".shift", {n}), zero = take<std::int32_t>(name + ".zero", {n});
        require(std::all_of(shift.begin(), shift.end(), [](std::int32_t s) { return s >= 1 && s <= 62; }),
                name + ": shift is not in 1..62");
        require(std::all_of(zero.begin(), zero.end(), [](std::int32_t z) { return z >= -4095 && z <= 4095; }),
                name + ": zero is not in -4095..4095");
        for (int phase = 0; phase < (kind == Kind::transposed ? 4 : 1); ++phase)
            check_sums(name, weights, bias, k, kind, phase, limit);
        return n;
    }

private:
    template <typename T>
    const Tensor& tensor(const std::string& name, const std::vector<std::int64_t>& shape) const {
        const auto found = tensors_.find(name);
        require(found != tensors_.end(), "tensor " + name + " is missing");
        const Tensor& tensor = found->second;
        require(tensor.type == dtype_of<T>(),
                "tensor " + name + " must be " + dtype_name(dtype_of<T>()) + ", not " + dtype_name(tensor.type));
        require(fits_shape(tensor, shape), "tensor " + name + " must have the shape (" + wanted_shape(shape) +
                                               "), not " + shape_text(tensor.shape));
        return tensor;
    }

    static void check_sums(const std::string& name, std::span<const std::int8_t> weights,
                           std::span<const std::int32_t> bias, std::int64_t k, Kind kind, int phase,
                           std::int64_t limit) {
        std::vector<std::int64_t> counts;  // of a kernel's cells, 1 or 0
        for (std::int64_t cell = 0; cell < k * k; ++cell) counts.push_back(in_sum(kind, k, cell / k, cell % k, phase));
        std::int64_t most = -1;
        std::size_t worst = 0, at = 0;
        const std::size_t kernels = weights.size() / bias.size() / counts.size();
        for (std::size_t o = 0; o < bias.size(); ++o) {
            std::int64_t sum = 0;
            for (std::size_t i = 0; i < kernels; ++i)
                for (const std::int64_t counted : counts) sum += counted * std::abs(weights[at++]);
            const std::int64_t reach = sum * limit + std::abs(std::int64_t{bias[o]});
            if (reach > most) {
                most = reach;
                worst = o;
            }
        }
        require(most < std::int64_t{1} << 31, name + ": output " + std::to_string(worst) + " could overflow 32 bits");
    }

    const Tensors& tensors_;
};

std::string row_text(std::size_t row) { return "probability table row " + std::to_string(row) + ": "; }

void check_rows(const char* what, std::span<const std::int32_t> values, std::int32_t low, std::int32_t high) {
    for (std::size_t row = 0; row < values.size(); ++row)
        require(values[row] >= low && values[row] <= high, row_text(row) + what + " " + std::to_string(values[row]) +
                                                               " is not in " + std::to_string(low) + ".." +
                                                               std::to_string(high));
}

// Returns the number of rows.
std::int64_t check_tables(const Checked& t, int prob_bits) {
    const auto size = t.take<std::int32_t>("tables.size", {kAny});
    require(size.size() <= kMostRows, "there are " + std::to_string(size.size()) + " table rows; 65536 are the most");
    const auto rows = static_cast<std::int64_t>(size.size());
    const auto low = t.take<std::int32_t>("tables.low", {rows});
    check_rows("size", size, 1, 65535);
    check_rows("low", low, -65535, 65535);
    const auto starts = t.take<std::uint16_t>("tables.starts", {kAny});
    require(starts.size() <= kMostStarts,
            "tables.starts has " + std::to_string(starts.size()) + " entries; 16777216 are the most");
    std::size_t entries = 0;
    for (const std::int32_t n : size) entries += static_cast<std::size_t>(n) + 1;
    require(starts.size() == entries, "tables.starts has not sum(size + 1) entries");
    const auto each = [&](const char* what, const auto& bad) {
        std::size_t first = 0;
        for (std::size_t row = 0; row < size.size(); ++row) {
            const auto count = static_cast<std::size_t>(size[row]) + 1;
            require(!bad(starts.subspan(first, count)), row_text(row) + what);
            first += count;
        }
    };
    using Starts = std::span<const std::uint16_t>;
    each("does not start at 0", [](Starts s) { return s.front() != 0; });
    each("starts do not rise",
         [](Starts s) { return std::adjacent_find(s.begin(), s.end(), std::greater_equal<>()) != s.end(); });
    each("sums to more than 2^prob_bits", [&](Starts s) { return s.back() >= 1 << prob_bits; });
    return rows;
}

void check_scales(const Checked& t, const ModelConfig& c, std::int64_t rows) {
    const auto row = t.take<std::int32_t>("scale.row", {kAny});
    require(row.size() <= kMostScales, "there are " + std::to_string(row.size()) + " scales; 65536 are the most");
    const auto count = static_cast<std::int64_t>(row.size());
    const auto drop = t.take<std::int32_t>("scale.drop", {count});
    const auto thresholds = t.take<std::int32_t>("scale.thresholds", {count - 1});
    require(std::is_sorted(thresholds.begin(), thresholds.end()), "scale thresholds do not rise");
    require(std::all_of(drop.begin(), drop.end(), [&](std::int32_t d) { return d >= 0 && d <= c.mean_bits; }),
            "scale drop is not in 0..mean_bits");
    for (std::size_t i = 0; i < row.size(); ++i) {
        const std::int64_t fractions = c.form == Form::a && c.means() ? std::int64_t{1} << (c.mean_bits - drop[i]) : 1;
        require(row[i] >= 0 && row[i] <= rows - fractions, "scale row is outside of the tables");
    }
    if (t.has("scale.skip"))
        t.within("scale.skip", static_cast<std::int64_t>(c.qualities.size()), 0,
                 static_cast<std::int32_t>(std::min<std::int64_t>(count, 255)));
}

// As core/entropy_tensors.hpp takes them.
struct Views {
    const Tensors& tensors;
    template <typename T>
    std::span<const T> get(const std::string& name) const {
        return tensors.at(name).values<T>();
    }
    LayerTensors layer(const std::string& name) const {
        const std::vector<std::int64_t>& shape = tensors.at(name + ".weight").shape;
        return {name,
                static_cast<int>(shape[0]),
                static_cast<int>(shape[1]),
                static_cast<int>(shape[2]),
                get<std::int8_t>(name + ".weight"),
                get<std::int32_t>(name + ".bias"),
                get<std::int32_t>(name + ".mul_pos"),
                get<std::int32_t>(name + ".mul_neg"),
                get<std::int32_t>(name + ".shift"),
                get<std::int32_t>(name + ".zero")};
    }
};

}  // namespace

bool fits_shape(const Tensor& tensor, const std::vector<std::int64_t>& shape) {
    return std::equal(tensor.shape.begin(), tensor.shape.end(), shape.begin(), shape.end(),
                      [](std::int64_t has, std::int64_t wanted) { return wanted == kAny ? has > 0 : has == wanted; });
}

std::string wanted_shape(const std::vector<std::int64_t>& shape) {
    return joined(shape, ", ", [](std::int64_t size) { return size == kAny ? "any" : std::to_string(size); });
}

void check_entropy(const ModelConfig& c, const Tensors& tensors) {
    const Checked t(tensors);
    const std::int64_t limit = c.activation_limit(), parameters = (c.means() ? 2 : 1) * std::int64_t{c.latents};
    std::int64_t features = 0;
    if (c.hyper_latents > 0) {
        const std::int64_t first = t.layer("h_s.0", c.hyper_latents, kAny, Kind::transposed, limit);
        const std::int64_t second = t.layer("h_s.2", first, kAny, Kind::transposed, limit);
        features = t.layer("h_s.4", second, c.context() ? kAny : parameters, Kind::conv, limit);
        t.within("z_offset", c.hyper_latents, -(1 << 20) + 1, (1 << 20) - 1);
    }
    if (c.context()) {
        const std::int64_t context = t.layer("context_prediction", c.latents, kAny, Kind::masked, limit);
        std::int64_t hidden = t.layer("entropy_parameters.0", features + context, kAny, Kind::dense, limit);
        hidden = t.layer("entropy_parameters.2", hidden, kAny, Kind::dense, limit);
        t.layer("entropy_parameters.4", hidden, parameters, Kind::dense, limit);
        t.within("context_input.mul", c.latents, -32768, 32768);
        t.take<std::int32_t>("context_input.add", {c.latents});
        t.within("context_input.shift", c.latents, 0, 31);
    }
    const std::int64_t rows = check_tables(t, c.prob_bits);
    require(rows >= c.hyper_latents + (c.conditional() ? 0 : c.latents), "there are fewer table rows than channels");
    if (c.hyper_latents > 0 && t.has("z_rows"))
        t.within("z_rows", static_cast<std::int64_t>(c.qualities.size()), 0,
                 static_cast<std::int32_t>(rows - c.hyper_latents));
    if (c.conditional()) check_scales(t, c, rows);
}

EntropyTensors entropy_tensors(const ModelConfig& c, const Tensors& tensors) {
    EntropyTensors t;
    t.latents = c.latents;
    t.hyper_latents = c.hyper_latents;
    t.conditional = c.conditional();
    t.means = c.means();
    t.context = c.context();
    t.form = c.form;
    t.activation_bits = c.activation_bits;
    t.mean_bits = c.mean_bits;
    t.z_bits = c.z_bits;
    t.prob_bits = c.prob_bits;
    fill_entropy_tensors(t, Views{tensors});
    return t;
}

}  // namespace jahp
