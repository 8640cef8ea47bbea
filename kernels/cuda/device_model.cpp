// SPDX-License-Identifier: Apache-2.0
#include "device_model.hpp"

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

    // order: slot of an output -> output, or -1 for none.
    Product product(const LayerTensors& t, const std::vector<Tap>& taps, int first_input, int inputs, const std::vector<int>& order) {
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
                            const std::size_t row = static_cast<std::size_t>(output) * static_cast<std::size_t>(t.inputs);
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
            requant.push_back(o < 0 ? Requant{0, 0, 0, 1, 0} : Requant{t.bias[i], t.mul_pos[i], t.mul_neg[i], t.shift[i], t.zero[i]});
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

std::vector<int> interleaved(int latents) {
    std::vector<int> order;
    for (int m = 0; m < up(latents, kTileOutputs / 2); ++m)
        for (const int o : {m, latents + m}) order.push_back(m < latents ? o : -1);
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
            std::vector<Tap> taps;  // out(2 r + a, 2 c + b) takes in(r + 1 - row / 2, c + 1 - column / 2), whatever the parity
            for (int row = phase / 2; row < 5; row += 2)
                for (int column = phase % 2; column < 5; column += 2) taps.push_back({1 - row / 2, 1 - column / 2, row * 5 + column});
            (i == 0 ? model.h_s_0 : model.h_s_2)[phase] = packer.product(layer, taps, 0, layer.inputs, order);
        }
        model.h_s_outputs[i] = packer.outputs(layer, order, layer.outputs, model.limit);
    }
    const LayerTensors& last = t.h_s[2];
    const auto order = in_order(last.outputs);
    model.h_s_4 = packer.product(last, taps_of(last, [](const Tap&) { return true; }), 0, last.inputs, order);
    model.h_s_outputs[2] = packer.outputs(last, order, last.outputs, model.limit);
    model.conv_half = last.kernel / 2;
    model.z_offset = packer.put(t.z_offset);
}

void pack_context(const EntropyTensors& t, Packer& packer, DeviceModel& model) {
    const LayerTensors& context = t.context_prediction[0];
    model.half = context.kernel / 2;
    model.slope = model.half + 1;
    auto order = in_order(context.outputs);
    const int slope = model.slope, middle = context.kernel * context.kernel / 2;
    const auto fresh = [=](const Tap& tap) { return tap.cell < middle && tap.column + slope * tap.row == -1; };  // of the step before
    const auto older = [&](const Tap& tap) { return tap.cell < middle && !fresh(tap); };
    model.context_old = packer.product(context, taps_of(context, older), 0, context.inputs, order);
    model.context_new = packer.product(context, taps_of(context, fresh), 0, context.inputs, order);
    model.context_outputs = packer.outputs(context, order, context.outputs, model.limit);
    const std::vector<Tap> here{{0, 0, 0}};
    for (std::size_t i = 0; i < 3; ++i) {
        const LayerTensors& layer = t.entropy_parameters[i];
        order = i == 2 ? interleaved(t.latents) : in_order(layer.outputs);
        if (i == 0) {
            const int hyper = layer.inputs - context.outputs;
            model.first_hyper = packer.product(layer, here, 0, hyper, order);
            model.first_context = packer.product(layer, here, hyper, context.outputs, order);
        } else {
            (i == 1 ? model.second : model.third) = packer.product(layer, here, 0, layer.inputs, order);
        }
        model.parameter_outputs[i] = packer.outputs(layer, order, layer.outputs, i == 2 ? EntropyModel::kParameterLimit : model.limit);
    }
    model.context_mul = packer.put(t.context_mul);
    model.context_add = packer.put(t.context_add);
    model.context_shift = packer.put(t.context_shift);
}

}  // namespace

std::int32_t Product::tile_bytes() const { return taps * chunks * kChunkBytes; }

std::vector<std::uint8_t> pack_model(const EntropyTensors& t) {
    if (!t.context || !t.means) throw Error(Fault::usage, "the cuda backend decodes mbt2018 and mbt2018-context; this model has no context");
    std::vector<std::uint8_t> blob(sizeof(DeviceModel));
    Packer packer(blob);
    DeviceModel model{};
    model.latents = t.latents;
    model.hyper_latents = t.hyper_latents;
    model.planes = t.activation_bits == 8 ? 1 : 2;
    model.limit = t.activation_bits == 8 ? 127 : 4095;
    model.form_b = t.form == Form::b ? 1 : 0;
    model.mean_bits = t.mean_bits;
    model.z_bits = t.z_bits;
    model.prob_bits = t.prob_bits;
    model.scales = static_cast<std::int32_t>(t.scale_row.size());
    model.rows = static_cast<std::int32_t>(t.table_size.size());
    if (t.hyper_latents > 0) pack_hyperprior(t, packer, model);
    pack_context(t, packer, model);
    model.thresholds = packer.put(t.scale_thresholds);
    model.scale_row = packer.put(t.scale_row);
    model.scale_drop = packer.put(t.scale_drop);
    std::vector<TableRow> rows;
    std::int32_t first = 0;
    for (std::size_t r = 0; r < t.table_size.size(); ++r) {
        rows.push_back({first, t.table_low[r], t.table_size[r]});
        first += t.table_size[r] + 1;
    }
    model.table_rows = packer.put(rows.data(), rows.size());
    model.table_starts = packer.put(t.table_starts.data(), t.table_starts.size());
    model.bytes = static_cast<std::int64_t>(blob.size());
    std::memcpy(blob.data(), &model, sizeof model);
    return blob;
}

}  // namespace jahp::cuda
