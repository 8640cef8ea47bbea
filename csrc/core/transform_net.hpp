// SPDX-License-Identifier: Apache-2.0
// g_a, h_a or g_s: layers in a row, in integers, rows in, rows out (docs/reference/format.md).
//
// All activations are channels last. An output depends on the weights and the inputs alone: not on the instruction set,
// on how rows are pushed, on the number of threads or on the size of the map.
#pragma once

#include <memory>
#include <span>
#include <variant>
#include <vector>

#include "core/transform_layer.hpp"

namespace jahp {

// Of the last layer's type.
using OutputValues = std::variant<std::vector<std::int16_t>, std::vector<std::int32_t>, std::vector<std::uint8_t>>;

class TransformNet {
public:
    // Packs the weights. Error(model) for tensors that contradict each other, and for values out of their ranges.
    TransformNet(std::span<const ConvTensors> layers, Isa isa);

    // This net's layers, in the same memory, and these behind them. Error(model) as for the constructor, and for layers
    // that contradict what comes before.
    TransformNet followed_by(std::span<const ConvTensors> layers) const;

    int inputs() const { return layers_.front()->inputs(); }
    int outputs() const { return layers_.back()->outputs(); }
    int output_size(int input_size) const;  // of height and width
    OutputValues no_values() const;
    std::span<const std::shared_ptr<const TransformLayer>> layers() const { return layers_; }

private:
    void append(std::span<const ConvTensors> layers);

    Isa isa_;
    std::vector<std::shared_ptr<const TransformLayer>> layers_;
};

// One map on its way through a net, which must outlive it. Memory grows with the width, not with the height.
class TransformStream {
public:
    // trace: inverse GDN writes into it, local gains read it; it must outlive the stream. Error(usage) for sizes that
    // are not 1 to 2^20, and for local gains without a trace, or whose trace is of other sizes.
    TransformStream(const TransformNet& net, int height, int width, GainTrace* trace = nullptr);

    int height() const { return rows_.front().height(); }
    int width() const { return rows_.front().width(); }
    int output_height() const { return rows_.back().height(); }
    int output_width() const { return rows_.back().width(); }

    // Takes the next rows, (count, width, inputs), clamped to ±8191, and appends to `out`, which holds the last layer's
    // type, what has become final, rows of (output_width, outputs). Error(usage) for more rows than height; the stream
    // is then as it was. threads: 1 to 1024. Error(usage) where a local gain comes before the row of the trace that it
    // reads.
    void push(std::span<const std::int16_t> rows, int threads, OutputValues& out);

    // Error(usage) if rows are missing; all has been handed out otherwise.
    void finish() const;

private:
    bool ready(std::size_t layer, int& units) const;
    bool advance(ThreadTeam& team, std::vector<LayerScratch>& scratch);
    template <typename Out>
    void push_to(std::span<const std::int16_t> rows, int threads, std::vector<Out>& out);
    template <typename Out>
    void take(std::vector<Out>& out);
    int room() const;  // rows that the first buffer has place for

    const TransformNet& net_;
    std::vector<GainTrace::Level*> levels_;  // what layer i writes or reads of the trace; null: nothing
    std::vector<RowBuffer> rows_;  // what goes into layer i; the last is what comes out
    std::vector<int> next_;  // the unit that layer i makes next
    std::vector<int> batch_;  // units that layer i makes at a time
    int taken_ = 0;
    std::vector<LayerScratch> scratch_;
};

}  // namespace jahp
