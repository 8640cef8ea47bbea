// SPDX-License-Identifier: Apache-2.0
#include "core/context_net.hpp"

#include <algorithm>
#include <bit>

namespace jahp {
namespace {

constexpr int kItemBlocks = 4;  // blocks of outputs that are one item of work
constexpr int kTile = 12;  // positions that share a list of groups, as many as the widest kernel treats together
constexpr int kChunk = 48;  // positions whose sums of one item stay in the first-level cache
constexpr int kItemOutputs = kItemBlocks * kDotOutputs;

int items(const IntegerLayer& layer) { return (layer.blocks() + kItemBlocks - 1) / kItemBlocks; }

std::size_t times(int a, int b) { return static_cast<std::size_t>(a) * static_cast<std::size_t>(b); }

}  // namespace

ContextNet::ContextNet(const EntropyModel& model, int height, int width, int skip, int threads, int most)
    : model_(model), order_(height, width, model.slope()), skip_(skip), width_(width), height_(height), team_(threads) {
    scratch_.resize(static_cast<std::size_t>(team_.size()));
    for (Scratch& s : scratch_) {
        s.sums.resize(static_cast<std::size_t>(kChunk * kItemOutputs));
        s.start.resize(static_cast<std::size_t>(kChunk));
    }
    for (std::vector<Symbol>& s : symbols_) s.resize(times(most, model.latents()));
    for (std::vector<Position>& p : positions_) p.reserve(static_cast<std::size_t>(most));
    if (!model.conditional()) {
        for (std::vector<Symbol>& s : symbols_)
            for (std::size_t i = 0; i < s.size(); ++i)
                s[i] = {
                    model.hyper_latents() + static_cast<std::int32_t>(i % static_cast<std::size_t>(model.latents())),
                    0};
        return;
    }
    if (!model.context()) {
        ahead_items_ = items(model.h_s_last());
        ahead_ = [this](int item, int thread) {
            plain_symbols(item * kItemBlocks, scratch_[static_cast<std::size_t>(thread)]);
        };
        return;
    }
    const IntegerLayer &context = model.context_layer(), &first = model.parameters(0),
                       &second_layer = model.parameters(1);
    const int element = model.kernel().bytes ? 1 : 2;
    context_border_ = order_.slope() - 1;
    context_ = Plane(height, width, model.latents(), context_border_, model.kernel());
    context_columns_ = width + 2 * context_border_;
    words_ = (context.groups_per_tap(kNewTaps) + 63) / 64;
    nonzero_.resize(times((height + 2 * context_border_) * words_, context_columns_));
    std::size_t longest = 0;
    for (const int part : {kOldTaps, kNewTaps}) {
        dense_groups_[part] = context.groups(part, context_.row_pitch(), context_.pitch());
        longest += dense_groups_[part].size();
        for (const Tap& tap : context.taps(part))
            tap_words_[part].push_back((tap.row * context_columns_ + tap.column) * words_);
    }
    const int tiles = (most + kTile - 1) / kTile + order_.steps();
    tiles_.reserve(static_cast<std::size_t>(std::min(tiles, most)));
    lists_.resize(static_cast<std::size_t>(std::min(tiles, most)) * longest);
    for (int i = 0; i < 3; ++i)
        parameter_groups_[i] = model.parameters(i).groups(i == 0 && model.hyper_latents() > 0 ? 1 : 0, 0, 0);
    if (model.hyper_latents() > 0) hyper_groups_ = first.groups(EntropyModel::kHyperHalf, 0, 0);
    context_sums_.resize(times(most, context.pitch()));
    first_sums_.resize(times(most, first.pitch()));
    features_.resize(times(most, context.pitch() * element));
    hidden_.resize(times(most, first.pitch() * element));
    wide_.resize(times(most, second_layer.pitch() * element));

    const int old_items = items(context);
    ahead_items_ = old_items + (model.hyper_latents() > 0 ? items(first) : 0);
    ahead_ = [this, old_items](int item, int thread) {
        Scratch& s = scratch_[static_cast<std::size_t>(thread)];
        if (item < old_items)
            context_ahead(item * kItemBlocks, s);
        else
            hyper_ahead((item - old_items) * kItemBlocks, s);
    };
    context_job_ = [this](int item, int thread) {
        context_rest(item * kItemBlocks, scratch_[static_cast<std::size_t>(thread)]);
    };
    first_job_ = [this](int item, int thread) {
        first_rest(item * kItemBlocks, scratch_[static_cast<std::size_t>(thread)]);
    };
    second_job_ = [this](int item, int thread) {
        second(item * kItemBlocks, scratch_[static_cast<std::size_t>(thread)]);
    };
    third_job_ = [this](int item, int thread) {
        third(item * kItemBlocks, scratch_[static_cast<std::size_t>(thread)]);
    };
}

void ContextNet::start(std::span<const std::int32_t> z, int hz, int wz) {
    if (model_.hyper_latents() == 0) return;
    hyper_ = model_.hyper_features(z, hz, wz, height_, width_, team_);
    if (!model_.context()) plain_groups_ = model_.h_s_last().groups(0, hyper_.row_pitch(), hyper_.pitch());
}

void ContextNet::prepare(int t0, int t1) {
    std::vector<Position>& positions = positions_[next_];
    positions.clear();
    tiles_.clear();
    int list = 0;
    for (int t = t0; t < t1; ++t) {
        const int before = static_cast<int>(positions.size());
        order_.append(t, positions);
        const int count = static_cast<int>(positions.size()) - before, shares = (count + kTile - 1) / kTile;
        for (int s = 0, p = 0; s < shares; ++s) {  // equal shares, as the kernels do
            const int n = (count - p) / (shares - s);
            Tile tile{positions[static_cast<std::size_t>(before + p)], before + p, n, {list, 0}, {0, 0}};
            if (model_.context()) {
                tile.groups[kNewTaps] = list + static_cast<int>(dense_groups_[kOldTaps].size());
                list = tile.groups[kNewTaps] + static_cast<int>(dense_groups_[kNewTaps].size());
                list_groups(tile, kOldTaps);
            }
            tiles_.push_back(tile);
            p += n;
        }
    }
    prepared_ = static_cast<int>(positions.size());
}

void ContextNet::begin_ahead() {
    if (prepared_ == 0) return;
    team_.begin(ahead_items_, ahead_);
    ahead_running_ = ahead_items_ > 0;
}

void ContextNet::finish_ahead() {
    if (ahead_running_) team_.finish();
    ahead_running_ = false;
}

std::span<const Symbol> ContextNet::symbols() {
    current_ = next_;
    next_ = 1 - next_;
    if (model_.context() && prepared_ > 0) {
        for (Tile& tile : tiles_) list_groups(tile, kNewTaps);
        team_.run(items(model_.context_layer()), context_job_);
        team_.run(items(model_.parameters(0)), first_job_);
        team_.run(items(model_.parameters(1)), second_job_);
        team_.run(items(model_.parameters(2)), third_job_);
    }
    return {symbols_[current_].data(), times(prepared_, model_.latents())};
}

void ContextNet::reveal(Position at, const std::int32_t* y) {
    if (!model_.context()) return;
    std::uint64_t* nonzero = nonzero_.data() + times(at.row + context_border_, context_columns_ * words_) +
                             times(at.column + context_border_, words_);
    const std::int32_t sum = model_.context_input(y, context_.raw(at.row, at.column), nonzero);
    if (model_.kernel().biased) context_.sum(at.row, at.column) = -128 * sum;
}

// The groups of a part's taps that are not zero at every position of the tile.
void ContextNet::list_groups(Tile& tile, int part) {
    const std::vector<DotGroup>& all = dense_groups_[part];
    const std::ptrdiff_t stride = std::ptrdiff_t{words_} * (context_columns_ - order_.slope());
    const std::uint64_t* first = nonzero_.data() + times(tile.first.row + context_border_, context_columns_ * words_) +
                                 times(tile.first.column + context_border_, words_);
    DotGroup* out = lists_.data() + tile.groups[part];
    const int per_tap = model_.context_layer().groups_per_tap(part);
    const DotGroup* group = all.data();
    for (const std::int32_t tap : tap_words_[part]) {
        for (int word = 0; word < words_; ++word) {
            std::uint64_t bits = 0;
            const std::uint64_t* at = first + tap + word;
            for (int p = 0; p < tile.count; ++p) bits |= at[p * stride];
            for (; bits != 0; bits &= bits - 1) *out++ = group[64 * word + std::countr_zero(bits)];
        }
        group += per_tap;
    }
    tile.size[part] = static_cast<int>(out - lists_.data()) - tile.groups[part];
}

void ContextNet::context_products(const Tile& tile, int part, int block, int blocks, Scratch& s) {
    const IntegerLayer& layer = model_.context_layer();
    DotArguments arguments{context_.raw(tile.first.row, tile.first.column),
                           step_stride(context_),
                           tile.count,
                           lists_.data() + tile.groups[part],
                           tile.size[part],
                           nullptr,
                           0,
                           0,
                           nullptr,
                           context_sums_.data() + times(tile.offset, layer.pitch()) + block * kDotOutputs,
                           layer.pitch(),
                           part == kNewTaps};
    if (layer.kernel().biased) {
        for (int p = 0; p < tile.count; ++p) {
            std::int32_t start = 0;
            for (const Tap& tap : layer.taps(part))
                start += context_.sum(tile.first.row + p + tap.row,
                                      tile.first.column - p * order_.slope() + tap.column);
            s.start[static_cast<std::size_t>(p)] = start;
        }
        arguments.start = s.start.data();
    }
    layer.products(part, arguments, block, blocks);
}

void ContextNet::context_ahead(int block, Scratch& s) {
    const int blocks = std::min(kItemBlocks, model_.context_layer().blocks() - block);
    for (const Tile& tile : tiles_) context_products(tile, kOldTaps, block, blocks, s);
}

void ContextNet::hyper_ahead(int block, Scratch& s) {
    const IntegerLayer& layer = model_.parameters(0);
    const int blocks = std::min(kItemBlocks, layer.blocks() - block);
    for (const Tile& tile : tiles_) {
        DotArguments arguments{hyper_.raw(tile.first.row, tile.first.column),
                               step_stride(hyper_),
                               tile.count,
                               hyper_groups_.data(),
                               static_cast<int>(hyper_groups_.size()),
                               nullptr,
                               0,
                               0,
                               nullptr,
                               first_sums_.data() + times(tile.offset, layer.pitch()) + block * kDotOutputs,
                               layer.pitch(),
                               false};
        if (layer.kernel().biased) {
            for (int p = 0; p < tile.count; ++p)
                s.start[static_cast<std::size_t>(p)] = hyper_.sum(tile.first.row + p,
                                                                  tile.first.column - p * order_.slope());
            arguments.start = s.start.data();
        }
        layer.products(EntropyModel::kHyperHalf, arguments, block, blocks);
    }
}

void ContextNet::context_rest(int block, Scratch& s) {
    const IntegerLayer& layer = model_.context_layer();
    const int blocks = std::min(kItemBlocks, layer.blocks() - block), element = layer.kernel().bytes ? 1 : 2;
    for (const Tile& tile : tiles_) {
        context_products(tile, kNewTaps, block, blocks, s);
        const std::size_t at = times(tile.offset, layer.pitch()) + times(block, kDotOutputs);
        layer.activate(context_sums_.data() + at, layer.pitch(), tile.count, block, blocks,
                       features_.data() + at * static_cast<std::size_t>(element), layer.pitch());
    }
}

// Products of a 1x1 layer for positions p0 .. p0 + n - 1, n <= kChunk, of a buffer of activations.
void ContextNet::dense(const IntegerLayer& layer, const AlignedVector<std::uint8_t>& in, int in_pitch, int p0, int n,
                       int block, int blocks, std::int32_t* sums, std::ptrdiff_t stride, bool add, int part,
                       Scratch& s) {
    const std::uint8_t* from = in.data() + times(p0, in_pitch) * (layer.kernel().bytes ? 1 : 2);
    const std::vector<DotGroup>& groups = parameter_groups_[&layer - &model_.parameters(0)];
    DotArguments arguments{from, in_pitch, n,  groups.data(), static_cast<int>(groups.size()), nullptr, 0, 0, nullptr,
                           sums, stride,   add};
    if (layer.kernel().biased) {
        layer.kernel().row_sums(reinterpret_cast<const std::int8_t*>(from), in_pitch, n, in_pitch, s.start.data());
        arguments.start = s.start.data();
    }
    layer.products(part, arguments, block, blocks);
}

void ContextNet::first_rest(int block, Scratch& s) {
    const IntegerLayer& layer = model_.parameters(0);
    const int blocks = std::min(kItemBlocks, layer.blocks() - block), element = layer.kernel().bytes ? 1 : 2;
    const bool add = model_.hyper_latents() > 0;
    for (int p = 0; p < prepared_; p += kChunk) {
        const int n = std::min(kChunk, prepared_ - p);
        const std::size_t at = times(p, layer.pitch()) + times(block, kDotOutputs);
        dense(layer, features_, model_.context_layer().pitch(), p, n, block, blocks, first_sums_.data() + at,
              layer.pitch(), add, add ? 1 : 0, s);
        layer.activate(first_sums_.data() + at, layer.pitch(), n, block, blocks,
                       hidden_.data() + at * static_cast<std::size_t>(element), layer.pitch());
    }
}

void ContextNet::second(int block, Scratch& s) {
    const IntegerLayer& layer = model_.parameters(1);
    const int blocks = std::min(kItemBlocks, layer.blocks() - block), element = layer.kernel().bytes ? 1 : 2;
    for (int p = 0; p < prepared_; p += kChunk) {
        const int n = std::min(kChunk, prepared_ - p);
        dense(layer, hidden_, model_.parameters(0).pitch(), p, n, block, blocks, s.sums.data(), kItemOutputs, false, 0,
              s);
        const std::size_t at = times(p, layer.pitch()) + times(block, kDotOutputs);
        layer.activate(s.sums.data(), kItemOutputs, n, block, blocks,
                       wide_.data() + at * static_cast<std::size_t>(element), layer.pitch());
    }
}

void ContextNet::third(int block, Scratch& s) {
    const IntegerLayer& layer = model_.parameters(2);
    const int blocks = std::min(kItemBlocks, layer.blocks() - block);
    for (int p = 0; p < prepared_; p += kChunk) {
        const int n = std::min(kChunk, prepared_ - p);
        dense(layer, wide_, model_.parameters(1).pitch(), p, n, block, blocks, s.sums.data(), kItemOutputs, false, 0,
              s);
        parameters_to_symbols(layer, p, n, block, blocks, symbols_[current_], s);
    }
}

// s.sums holds the products of a layer that gives parameters: blocks of scales, or pairs of blocks of scales and means.
void ContextNet::parameters_to_symbols(const IntegerLayer& layer, int p0, int n, int block, int blocks,
                                       std::vector<Symbol>& out, Scratch& s) {
    layer.requantise(s.sums.data(), kItemOutputs, n, block, blocks, s.sums.data(), kItemOutputs);
    const int pair = model_.means() ? 2 : 1, m = model_.latents();
    for (int p = 0; p < n; ++p)
        for (int b = 0; b < blocks; b += pair) {
            const int channel = (block + b) / pair * kDotOutputs;
            const std::int32_t* scales = s.sums.data() + p * kItemOutputs + b * kDotOutputs;
            model_.symbols(scales, model_.means() ? scales + kDotOutputs : nullptr, std::min(kDotOutputs, m - channel),
                           skip_, out.data() + times(p0 + p, m) + channel);
        }
}

// Without context: the last layer of h_s, a row of positions at a time.
void ContextNet::plain_symbols(int block, Scratch& s) {
    const IntegerLayer& layer = model_.h_s_last();
    const int blocks = std::min(kItemBlocks, layer.blocks() - block);
    for (const Tile& tile : tiles_) {
        const Position at = tile.first;
        DotArguments arguments{hyper_.raw(at.row, at.column),
                               hyper_.pitch(),
                               tile.count,
                               plain_groups_.data(),
                               static_cast<int>(plain_groups_.size()),
                               nullptr,
                               0,
                               0,
                               nullptr,
                               s.sums.data(),
                               kItemOutputs,
                               false};
        if (layer.kernel().biased) {
            for (int p = 0; p < tile.count; ++p) {
                std::int32_t start = 0;
                for (const Tap& tap : layer.taps(0)) start += hyper_.sum(at.row + tap.row, at.column + p + tap.column);
                s.start[static_cast<std::size_t>(p)] = start;
            }
            arguments.start = s.start.data();
        }
        layer.products(0, arguments, block, blocks);
        parameters_to_symbols(layer, tile.offset, tile.count, block, blocks, symbols_[next_], s);
    }
}

}  // namespace jahp
