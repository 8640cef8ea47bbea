// SPDX-License-Identifier: Apache-2.0
#include "core/transform_net.hpp"

#include <algorithm>
#include <string>

#include "core/error.hpp"

namespace jahp {
namespace {

constexpr int kMostSide = 1 << 20;

void clamp_to(const std::int16_t* __restrict from, int count, std::int16_t* __restrict to) {
    constexpr std::int16_t limit = kActivationLimit;
    for (int i = 0; i < count; ++i) {
        const std::int16_t x = from[i] < -limit ? std::int16_t{-limit} : from[i];
        to[i] = x > limit ? limit : x;
    }
}

}  // namespace

TransformNet::TransformNet(std::span<const ConvTensors> layers, Isa isa) : isa_(isa) {
    if (layers.empty()) throw Error(Fault::model, "a transform needs a layer");
    append(layers);
}

void TransformNet::append(std::span<const ConvTensors> layers) {
    for (const ConvTensors& t : layers) {
        if (!layers_.empty() && layers_.back()->outputs() != t.inputs)
            throw Error(Fault::model, t.name + ": " + std::to_string(t.inputs) +
                                          " input channels; the layer before it has " +
                                          std::to_string(layers_.back()->outputs()));
        if (!layers_.empty() && layers_.back()->element() != Element::i16)
            throw Error(Fault::model, t.name + ": the layer before it gives no activations, but pixels or sums");
        layers_.push_back(make_layer(t, isa_));
    }
}

TransformNet TransformNet::followed_by(std::span<const ConvTensors> layers) const {
    TransformNet net = *this;
    net.append(layers);
    return net;
}

int TransformNet::output_size(int size) const {
    for (const auto& layer : layers_) size = layer->output_size(size);
    return size;
}

OutputValues TransformNet::no_values() const {
    switch (layers_.back()->element()) {
        case Element::u8:
            return std::vector<std::uint8_t>();
        case Element::i32:
            return std::vector<std::int32_t>();
        case Element::i16:
            break;
    }
    return std::vector<std::int16_t>();
}

TransformStream::TransformStream(const TransformNet& net, int height, int width, GainTrace* trace) : net_(net) {
    if (height < 1 || width < 1 || height > kMostSide || width > kMostSide)
        throw Error(Fault::usage,
                    "a map of " + std::to_string(width) + "x" + std::to_string(height) + " is impossible");
    int incoming = 0;
    for (const auto& layer : net.layers()) {
        const int batch = layer->good_units(width), span = layer->end_row(batch - 1) - layer->first_row(0);
        // What a batch reads, and what may come before that is complete.
        rows_.emplace_back(height, width, layer->inputs(), span + (rows_.empty() ? span : incoming));
        next_.push_back(0);
        batch_.push_back(batch);
        incoming = batch * layer->unit_rows();
        height = layer->output_size(height);
        width = layer->output_size(width);
        GainTrace::Level* level = nullptr;
        if (reads(layer->traced())) {
            if (trace == nullptr) throw Error(Fault::usage, "a local gain needs a trace");
            if (layer->traced() == Traced::reads_inputs && !trace->inputs())
                throw Error(Fault::usage, "the adjoint of an inverse GDN needs a trace that keeps inputs");
            level = &trace->claim(height, width, layer->outputs());
        } else if (layer->traced() == Traced::writes && trace != nullptr) {
            level = &trace->add(height, width, layer->outputs());
        }
        levels_.push_back(level);
    }
    rows_.emplace_back(height, width, net.outputs(), incoming, net.layers().back()->element());
}

bool TransformStream::ready(std::size_t i, int& units) const {
    const TransformLayer& layer = *net_.layers()[i];
    const RowBuffer &in = rows_[i], &out = rows_[i + 1];
    const int all = (out.height() - 1) / layer.unit_rows() + 1;
    units = std::min(batch_[i], all - next_[i]);
    if (units <= 0) return false;
    return in.rows() == in.height() || in.rows() >= layer.end_row(next_[i] + units - 1);
}

bool TransformStream::advance(ThreadTeam& team, std::vector<LayerScratch>& scratch) {
    for (std::size_t i = net_.layers().size(); i-- > 0;) {
        int units = 0;
        if (!ready(i, units)) continue;
        const TransformLayer& layer = *net_.layers()[i];
        RowBuffer& out = rows_[i + 1];
        const int end = std::min(out.height(), (next_[i] + units) * layer.unit_rows());
        GainTrace::Level* const level = levels_[i];
        if (reads(layer.traced()) && level->rows() < end)
            throw Error(Fault::usage, "row " + std::to_string(end - 1) + " of a trace is needed, which has " +
                                          std::to_string(level->rows()) + " rows so far");
        if (layer.traced() == Traced::writes && level != nullptr) level->make_room(end);
        layer.run(rows_[i], out, next_[i], units, team, scratch, level);
        if (reads(layer.traced())) level->forget(end);
        next_[i] += units;
        out.add_rows(end - out.rows());
        return true;
    }
    return false;
}

int TransformStream::room() const {
    const RowBuffer& in = rows_.front();
    const int needed = std::max(0, net_.layers().front()->first_row(next_.front()));
    return std::min(in.height(), needed + in.capacity()) - in.rows();
}

template <typename Out>
void TransformStream::take(std::vector<Out>& out) {
    RowBuffer& rows = rows_.back();
    for (; taken_ < rows.rows(); ++taken_) {
        const Out* from = rows.row<Out>(taken_);
        if (rows.stride() == rows.channels()) {
            out.insert(out.end(), from, from + static_cast<std::ptrdiff_t>(rows.width()) * rows.channels());
            continue;
        }
        for (int c = 0; c < rows.width(); ++c, from += rows.stride())
            out.insert(out.end(), from, from + rows.channels());
    }
}

void TransformStream::push(std::span<const std::int16_t> rows, int threads, OutputValues& out) {
    std::visit([&](auto& values) { push_to(rows, threads, values); }, out);
}

template <typename Out>
void TransformStream::push_to(std::span<const std::int16_t> rows, int threads, std::vector<Out>& out) {
    if (threads < 1 || threads > 1024) throw Error(Fault::usage, "threads must be 1 to 1024");
    RowBuffer& in = rows_.front();
    const std::size_t pitch = static_cast<std::size_t>(in.width()) * static_cast<std::size_t>(in.channels());
    const std::size_t count = rows.size() / pitch;
    if (rows.size() % pitch != 0) throw Error(Fault::usage, "rows of " + std::to_string(pitch) + " values are wanted");
    if (count > static_cast<std::size_t>(in.height() - in.rows()))
        throw Error(Fault::usage, "more than the " + std::to_string(in.height()) + " rows of the map");
    ThreadTeam team(threads);
    scratch_.resize(std::max(scratch_.size(), static_cast<std::size_t>(team.size())));
    out.reserve(out.size() + static_cast<std::size_t>(rows_.back().width()) * static_cast<std::size_t>(net_.outputs()) *
                                 static_cast<std::size_t>(
                                     count == static_cast<std::size_t>(in.height()) ? rows_.back().height() : 0));
    const std::int16_t* from = rows.data();
    for (auto left = static_cast<int>(count); left > 0;) {
        const int n = std::min(left, room());
        for (int r = 0; r < n; ++r) {
            std::int16_t* to = in.row<std::int16_t>(in.rows());
            const bool close = in.stride() == in.channels();
            const int columns = close ? 1 : in.width(), each = close ? in.width() * in.channels() : in.channels();
            for (int c = 0; c < columns; ++c, from += each, to += in.stride()) clamp_to(from, each, to);
            in.add_rows(1);
        }
        left -= n;
        while (advance(team, scratch_)) take(out);
    }
}

void TransformStream::finish() const {
    const RowBuffer& in = rows_.front();
    if (in.rows() < in.height())
        throw Error(Fault::usage, std::to_string(in.height() - in.rows()) + " of the " + std::to_string(in.height()) +
                                      " rows of the map are missing");
}

}  // namespace jahp
