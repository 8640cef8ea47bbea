// SPDX-License-Identifier: Apache-2.0
#include "device_model.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>

#include "core/entropy_model.hpp"
#include "core/error.hpp"

namespace jahp::cuda {
namespace {

constexpr std::size_t kAlignment = 256;

int up(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }

class Packer {
public:
    explicit Packer(std::vector<std::uint8_t>& blob) : blob_(blob) {}

    template <typename T>
    std::int64_t put(const T* from, std::size_t count) {
        const std::size_t at = (blob_.size() + kAlignment - 1) / kAlignment * kAlignment;
        blob_.resize(at + count * sizeof(T));
        if (count > 0) std::memcpy(blob_.data() + at, from, count * sizeof(T));
        return static_cast<std::int64_t>(at);
    }
    std::int64_t put(std::span<const std::int32_t> v) { return put(v.data(), v.size()); }
    // Right behind what was put last.
    template <typename T>
    std::int64_t put_behind(std::span<const T> v) {
        const std::size_t at = blob_.size();
        blob_.resize(at + v.size_bytes());
        if (!v.empty()) std::memcpy(blob_.data() + at, v.data(), v.size_bytes());
        return static_cast<std::int64_t>(at);
    }
    std::int64_t used() const { return static_cast<std::int64_t>(blob_.size()); }

    // order: slot of an output -> output, or -1 for none.
    Product product(const LayerTensors& t, const std::vector<Tap>& taps, int first_input, int inputs,
                    const std::vector<int>& order) {
        Product p{};
        p.taps = static_cast<std::int32_t>(taps.size());
        p.chunks = up(inputs, kChunkInputs) / kChunkInputs;
        p.tiles = static_cast<std::int32_t>(order.size()) / kTileOutputs;
        std::vector<TapOffset> offsets;
        for (const Tap& tap : taps) offsets.push_back({tap.row, tap.column});
        p.offsets = put(offsets.data(), offsets.size());
        std::vector<std::int8_t> weights(static_cast<std::size_t>(p.tiles) * static_cast<std::size_t>(p.tile_bytes()));
        std::size_t to = 0;
        const auto area = static_cast<std::size_t>(t.kernel * t.kernel);
        for (int tile = 0; tile < p.tiles; ++tile)
            for (const Tap& tap : taps)
                for (int chunk = 0; chunk < p.chunks; ++chunk)
                    for (int lane = 0; lane < 32; ++lane)
                        for (int byte = 0; byte < 8; ++byte, ++to) {
                            const int output = order[static_cast<std::size_t>(tile * kTileOutputs + lane / 4)];
                            const int input = chunk * kChunkInputs + byte / 4 * 16 + lane % 4 * 4 + byte % 4;
                            if (output < 0 || input >= inputs) continue;
                            const std::size_t row = static_cast<std::size_t>(output) *
                                                    static_cast<std::size_t>(t.inputs);
                            const std::size_t cell = (row + static_cast<std::size_t>(first_input + input)) * area;
                            weights[to] = t.weight[cell + static_cast<std::size_t>(tap.cell)];
                        }
        p.weights = put(weights.data(), weights.size());
        return p;
    }

    Outputs outputs(const LayerTensors& t, const std::vector<int>& order, int count, std::int32_t limit) {
        std::vector<Requant> requant;
        for (const int o : order) {
            const auto i = static_cast<std::size_t>(o < 0 ? 0 : o);
            requant.push_back(o < 0 ? Requant{0, 0, 0, 1, 0}
                                    : Requant{t.bias[i], t.mul_pos[i], t.mul_neg[i], t.shift[i], t.zero[i]});
        }
        return {put(requant.data(), requant.size()), count, limit};
    }

private:
    std::vector<std::uint8_t>& blob_;
};

std::vector<int> in_order(int outputs) {
    std::vector<int> order;
    for (int o = 0; o < up(outputs, kTileOutputs); ++o) order.push_back(o < outputs ? o : -1);
    return order;
}

// Scale and mean of each latent.
std::vector<int> interleaved(int latents, bool means) {
    std::vector<int> order;
    for (int m = 0; m < up(latents, kTileOutputs / 2); ++m)
        for (const int o : {m, means ? latents + m : -1}) order.push_back(m < latents ? o : -1);
    return order;
}

std::vector<Tap> taps_of(const LayerTensors& t, const std::function<bool(const Tap&)>& wanted) {
    std::vector<Tap> out;
    for (int cell = 0; cell < t.kernel * t.kernel; ++cell) {
        const Tap tap{cell / t.kernel - t.kernel / 2, cell % t.kernel - t.kernel / 2, cell};
        if (wanted(tap)) out.push_back(tap);
    }
    return out;
}

void pack_hyperprior(const EntropyTensors& t, Packer& packer, DeviceModel& model) {
    for (int i = 0; i < 2; ++i) {
        const LayerTensors& layer = t.h_s[static_cast<std::size_t>(i)];
        const auto order = in_order(layer.outputs);
        for (int phase = 0; phase < 4; ++phase) {
            std::vector<Tap>
                taps;  // out(2 r + a, 2 c + b) takes in(r + 1 - row / 2, c + 1 - column / 2), whatever the parity
            for (int row = phase / 2; row < 5; row += 2)
                for (int column = phase % 2; column < 5; column += 2)
                    taps.push_back({1 - row / 2, 1 - column / 2, row * 5 + column});
            (i == 0 ? model.h_s_0 : model.h_s_2)[phase] = packer.product(layer, taps, 0, layer.inputs, order);
        }
        model.h_s_outputs[i] = packer.outputs(layer, order, layer.outputs, model.limit);
    }
    const LayerTensors& last = t.h_s[2];
    const auto order = t.context ? in_order(last.outputs) : interleaved(t.latents, t.means);
    model.h_s_4 = packer.product(last, taps_of(last, [](const Tap&) { return true; }), 0, last.inputs, order);
    model.h_s_outputs[2] = packer.outputs(last, order, last.outputs,
                                          t.context ? model.limit : EntropyModel::kParameterLimit);
    model.conv_half = last.kernel / 2;
    model.z_offset = packer.put(t.z_offset);
}

void pack_context(const EntropyTensors& t, Packer& packer, DeviceModel& model) {
    const LayerTensors& context = t.context_prediction[0];
    model.half = context.kernel / 2;
    model.slope = model.half + 1;
    auto order = in_order(context.outputs);
    const int slope = model.slope, middle = context.kernel * context.kernel / 2;
    const auto fresh = [=](const Tap& tap) {
        return tap.cell < middle && tap.column + slope * tap.row == -1;
    };  // of the step before
    const auto older = [&](const Tap& tap) { return tap.cell < middle && !fresh(tap); };
    model.context_old = packer.product(context, taps_of(context, older), 0, context.inputs, order);
    model.context_new = packer.product(context, taps_of(context, fresh), 0, context.inputs, order);
    std::vector<TapOffset> offsets;
    for (const auto& wanted : {std::function<bool(const Tap&)>(older), std::function<bool(const Tap&)>(fresh)})
        for (const Tap& tap : taps_of(context, wanted)) offsets.push_back({tap.row, tap.column});
    model.context_old.offsets = packer.put(offsets.data(), offsets.size());  // all taps of the layer together
    model.context_new.offsets = model.context_old.offsets +
                                model.context_old.taps * static_cast<std::int64_t>(sizeof(TapOffset));
    model.context_offsets_end = packer.used();
    model.context_outputs = packer.outputs(context, order, context.outputs, model.limit);
    const std::vector<Tap> here{{0, 0, 0}};
    for (std::size_t i = 0; i < 3; ++i) {
        const LayerTensors& layer = t.entropy_parameters[i];
        order = i == 2 ? interleaved(t.latents, t.means) : in_order(layer.outputs);
        if (i == 0) {
            const int hyper = layer.inputs - context.outputs;
            model.first_hyper = packer.product(layer, here, 0, hyper, order);
            model.first_context = packer.product(layer, here, hyper, context.outputs, order);
        } else {
            (i == 1 ? model.second : model.third) = packer.product(layer, here, 0, layer.inputs, order);
        }
        model.parameter_outputs[i] = packer.outputs(layer, order, layer.outputs,
                                                    i == 2 ? EntropyModel::kParameterLimit : model.limit);
    }
    model.context_mul = packer.put(t.context_mul);
    packer.put_behind(t.context_add);
    packer.put_behind(t.context_shift);
    model.context_input_end = packer.used();
}

// What a symbol's slot may be looked up in: words of 16 bits behind one another, all places from where they begin.
struct Lookup {
    std::vector<std::uint16_t> buckets, ends;
};

// Appends the buckets and ends of a row; returns it, with places in `lookup`. last: the last slot of each entry.
TableRow look_up(const std::vector<std::uint16_t>& last, int prob_bits, Lookup& lookup) {
    const int bits = std::clamp(static_cast<int>(std::bit_width(last.size())) - 1, kLeastBuckets, prob_bits),
              shift = prob_bits - bits;
    TableRow row{};
    row.buckets = 2 * static_cast<std::int32_t>(lookup.buckets.size()) | shift;
    row.ends = 2 * static_cast<std::int32_t>(lookup.ends.size());
    std::uint16_t entry = 0;
    for (std::uint32_t bucket = 0; bucket < 1u << bits; ++bucket) {
        while (last[entry] < bucket << shift) ++entry;
        lookup.buckets.push_back(entry);
    }
    lookup.ends.push_back(0xffff);
    lookup.ends.insert(lookup.ends.end(), last.begin(), last.end());
    return row;
}

void pack_tables(const EntropyTensors& t, Packer& packer, DeviceModel& model) {
    std::vector<TableRow> rows;
    Lookup lookup;
    const std::uint16_t* starts = t.table_starts.data();
    for (std::size_t r = 0; r < t.table_size.size(); ++r) {
        std::vector<std::uint16_t> last;
        for (std::int32_t k = 1; k <= t.table_size[r]; ++k) last.push_back(static_cast<std::uint16_t>(starts[k] - 1));
        last.push_back(static_cast<std::uint16_t>((1u << t.prob_bits) - 1));
        starts += t.table_size[r] + 1;
        rows.push_back(look_up(last, t.prob_bits, lookup));
        rows.back().low = t.table_low[r];
        rows.back().size = t.table_size[r];
    }
    lookup.ends.insert(lookup.ends.end(), 2, 0xffff);  // that are read behind the last
    const auto buckets = static_cast<std::int32_t>(
                   up(static_cast<int>(rows.size() * sizeof(TableRow)), 1 << kShiftBits)),
               ends = buckets + 2 * static_cast<std::int32_t>(lookup.buckets.size());
    for (TableRow& row : rows) {
        row.buckets += buckets;
        row.ends += ends;
    }
    model.idle[0] = rows[0].buckets;
    model.idle[1] = rows[0].ends;
    rows.resize(static_cast<std::size_t>(buckets) / sizeof(TableRow));
    model.tables = packer.put(rows.data(), rows.size());
    packer.put_behind(std::span<const std::uint16_t>(lookup.buckets));
    packer.put_behind(std::span<const std::uint16_t>(lookup.ends));
    model.tables_end = packer.used();
}

}  // namespace

std::int32_t Product::tile_bytes() const { return taps * chunks * kChunkBytes; }

std::vector<std::uint8_t> pack_model(const EntropyTensors& t) {
    std::vector<std::uint8_t> blob(sizeof(DeviceModel));
    Packer packer(blob);
    DeviceModel model{};
    model.latents = t.latents;
    model.hyper_latents = t.hyper_latents;
    model.planes = t.activation_bits == 8 ? 1 : 2;
    model.limit = t.activation_bits == 8 ? 127 : 4095;
    model.conditional = t.conditional ? 1 : 0;
    model.form_b = t.form == Form::b ? 1 : 0;
    model.mean_bits = t.mean_bits;
    model.z_bits = t.z_bits;
    model.prob_bits = t.prob_bits;
    model.scales = static_cast<std::int32_t>(t.scale_row.size());
    model.rows = static_cast<std::int32_t>(t.table_size.size());
    if (t.hyper_latents > 0) pack_hyperprior(t, packer, model);
    if (t.context) pack_context(t, packer, model);
    if (t.conditional) {
        model.thresholds = packer.put(t.scale_thresholds);
        packer.put_behind(t.scale_row);
        packer.put_behind(t.scale_drop);
        model.scales_end = packer.used();
    }
    pack_tables(t, packer, model);
    model.bytes = static_cast<std::int64_t>(blob.size());
    std::memcpy(blob.data(), &model, sizeof model);
    return blob;
}

}  // namespace jahp::cuda
