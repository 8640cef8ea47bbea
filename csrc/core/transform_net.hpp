// SPDX-License-Identifier: Apache-2.0
// g_a, h_a or g_s: layers in a row, float32, rows in, rows out.
//
// All activations are channels last. For one instruction set an output depends on the weights and the inputs alone: not
// on how rows are pushed, on the number of threads or on the size of the map.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/transform_layer.hpp"

namespace jahp {

// Error(usage) where products in bfloat16 cannot run: a CPU without AVX512-BF16, or an instruction set below
// avx512vnni.
void check_bf16(Isa isa);

class TransformNet {
public:
    // Packs the weights. Error(model) for tensors that contradict each other; bf16: as check_bf16.
    TransformNet(std::span<const ConvTensors> layers, Isa isa, Precision precision = Precision::f32);

    // This net's layers, in the same memory, and these behind them. Error(model) for tensors that contradict each other
    // or what comes before.
    TransformNet followed_by(std::span<const ConvTensors> layers) const;

    int inputs() const { return layers_.front()->inputs(); }
    int outputs() const { return layers_.back()->outputs(); }
    int output_size(int input_size) const;  // of height and width
    std::span<const std::shared_ptr<const TransformLayer>> layers() const { return layers_; }

private:
    void append(std::span<const ConvTensors> layers);

    Isa isa_;
    Precision precision_;
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

    // Takes the next rows, (count, width, inputs), and appends to `out` what has become final, rows of (output_width,
    // outputs). Error(usage) for more rows than height; the stream is then as it was. threads: 1 to 1024. Error(usage)
    // where a local gain comes before the row of the trace that it reads.
    void push(std::span<const float> rows, int threads, std::vector<float>& out);

    // Error(usage) if rows are missing; all has been handed out otherwise.
    void finish() const;

private:
    bool ready(std::size_t layer, int& units) const;
    bool advance(ThreadTeam& team, std::vector<LayerScratch>& scratch);
    void take(std::vector<float>& out);
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
