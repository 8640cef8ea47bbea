// SPDX-License-Identifier: Apache-2.0
// The entropy nets of one image, wavefront step by wavefront step: from z and the part of ŷ that is known to Symbols.
//
//     prepare(t0, t1)   names the positions: those of steps t0 .. t1 - 1, step by step, rows ascending
//     begin_ahead()     offers to the team what these steps do not owe to the step before: the taps of the context
//     layer that
//                       lie two steps back or more, the hyperprior's half of entropy_parameters.0, or, without a
//                       context, everything. The caller may meanwhile decode the step before and reveal() it.
//     finish_ahead()    joins in and waits
//     symbols()         the rest: four small layers one after the other, each split over the team by blocks of outputs
//
// What symbols() returned stays valid until the symbols() after next. Groups of channels that are zero at all positions
// of a tile are left out of the context layer's products; at low rates that is most of them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/entropy_model.hpp"

namespace jahp {

class ContextNet {
public:
    // most: of positions that one prepare() may name, at least those of any step. Symbols whose scale index is below
    // `skip` get row -1. model must outlive the net.
    ContextNet(const EntropyModel& model, int height, int width, int skip, int threads, int most);
    ContextNet(const ContextNet&) = delete;
    ContextNet& operator=(const ContextNet&) = delete;

    // Runs h_s. z: hz x wz x N, none for a model without hyperprior.
    void start(std::span<const std::int32_t> z, int hz, int wz);

    const Wavefront& order() const { return order_; }

    void prepare(int t0, int t1);
    void begin_ahead();
    void finish_ahead();

    // symbols[p * M + c] of the positions that were prepared last. Not to be called before their finish_ahead().
    std::span<const Symbol> symbols();
    std::span<const Position> positions() const { return positions_[current_]; }  // of the last symbols()

    // Makes ŷ at a position known to the context layer: M values.
    void reveal(Position at, const std::int32_t* y);

private:
    struct Tile {  // positions of one step that share lists of groups
        Position first;
        int offset, count;  // among the positions prepared
        int groups[2], size[2];  // where the lists of the masked layer's parts begin, and their lengths
    };
    struct Scratch {
        AlignedVector<std::int32_t> sums, start;
    };
    void list_groups(Tile& tile, int part);
    void context_products(const Tile& tile, int part, int block, int blocks, Scratch& s);
    void context_ahead(int block, Scratch& s);
    void hyper_ahead(int block, Scratch& s);
    void plain_symbols(int block, Scratch& s);
    void context_rest(int block, Scratch& s);
    void first_rest(int block, Scratch& s);
    void second(int block, Scratch& s);
    void third(int block, Scratch& s);
    void dense(const IntegerLayer& layer, const AlignedVector<std::uint8_t>& in, int in_pitch, int p0, int n, int block,
               int blocks, std::int32_t* sums, std::ptrdiff_t stride, bool add, int part, Scratch& s);
    void parameters_to_symbols(const IntegerLayer& layer, int p0, int n, int block, int blocks,
                               std::vector<Symbol>& out, Scratch& s);
    std::ptrdiff_t step_stride(const Plane& plane) const {
        return std::ptrdiff_t{plane.row_pitch()} - std::ptrdiff_t{order_.slope()} * plane.pitch();
    }

    const EntropyModel& model_;
    Wavefront order_;
    int skip_, width_, height_;
    Plane hyper_, context_;
    std::vector<std::uint64_t> nonzero_;  // of context_'s positions, border included: a bit a group
    int words_ = 0, context_columns_ = 0, context_border_ = 0;
    std::vector<std::int32_t> tap_words_[2];  // from a position's bits to those of each tap
    std::vector<DotGroup> dense_groups_[2], hyper_groups_, parameter_groups_[3], plain_groups_;
    std::vector<DotGroup> lists_;
    std::vector<Tile> tiles_;
    int prepared_ = 0;  // positions
    std::vector<Position> positions_[2];
    std::vector<Symbol> symbols_[2];
    int current_ = 1, next_ = 0;
    AlignedVector<std::int32_t> context_sums_, first_sums_;
    AlignedVector<std::uint8_t> features_, hidden_,
        wide_;  // activations: of the context layer and of the two hidden ones
    std::vector<Scratch> scratch_;
    ThreadTeam::Job ahead_, context_job_, first_job_, second_job_, third_job_;
    int ahead_items_ = 0;
    bool ahead_running_ = false;
    ThreadTeam team_;  // last: its helpers end before what they work on
};

}  // namespace jahp
