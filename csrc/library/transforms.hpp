// SPDX-License-Identifier: Apache-2.0
// g_a, h_a and g_s of a model file, and what surrounds their nets, as jahp_fast.transforms.cpu has it: images go in and
// come out by rows, so that memory is bounded by their width.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <tuple>
#include <vector>

#include "core/context_decoder.hpp"
#include "core/transform_net.hpp"
#include "library/gains.hpp"
#include "library/picture.hpp"
#include "library/transform_tensors.hpp"
#include "library/view.hpp"

namespace jahp {

constexpr int kStride = 16;  // image pixels per latent, in each direction
constexpr int kLatentRows = 4;  // that g_s takes, and g_a gives, at a time
constexpr int kLatentBits = 8;  // fractional bits of latents before they are rounded
constexpr std::int32_t kLatentLimit = 2147483647;

inline int up(int a, int b) { return a / b + (a % b != 0 ? 1 : 0); }

// A net with what its layers read.
struct SynthesisNet {
    std::shared_ptr<const TransformNet> net;
    std::vector<Reach> reaches;
};

// Rows of ŷ to rows of pixels: one view of a picture on its way through g_s.
class Synthesis {
public:
    // cut: the view, or of one that is made of means, the same rectangle at full size, of which `means` makes them.
    Synthesis(std::shared_ptr<const TransformNet> net, const Factors& gain, const Window& window, const View& cut,
              std::optional<SquareMeans> means);
    // What it takes of ŷ.
    const LatentWindow& part() const { return window_.part; }
    // The next rows of that part, (k, w, M) -> the RGB rows of the view that became final, (k', width, 3). T:
    // std::uint8_t, or std::uint16_t of a deep one.
    template <typename T>
    std::vector<T> push(std::span<const std::int32_t> rows, int threads);

private:
    std::shared_ptr<const TransformNet> net_;
    const Factors& gain_;
    const Window window_;
    const View cut_;
    std::optional<SquareMeans> means_;
    int made_ = 0;
    std::vector<std::int16_t> scaled_;
    TransformStream stream_;
};

// May be shared between threads, and outlived by its model alone. Each net is read and packed when it is first needed.
// Error(model) from all of it if a tensor is missing, has the wrong shape or is out of range.
class Transforms {
public:
    Transforms(const ModelFile& model, Isa isa) : model_(model), isa_(isa) {}

    // A picture -> y (h, w, M) times 2^kLatentBits, not rounded further; without a quality the sums that `gained`
    // takes.
    std::vector<std::int32_t> analysis(const PictureView& picture, std::optional<double> quality, int threads,
                                       const Poll& poll);
    std::vector<std::int32_t> gained(std::span<const std::int32_t> sums, double quality);
    // y (h, w, M) -> z (hz, wz, N), both times 2^kLatentBits.
    std::vector<std::int32_t> hyper_analysis(std::span<const std::int32_t> y, int h, int w, int threads,
                                             const Poll& poll);
    // Of a view of the picture of that size. At a scale that the model has no heads for its pixels are means.
    Synthesis synthesis(double quality, int height, int width, const View& view);

private:
    std::shared_ptr<const TransformNet> net(std::shared_ptr<const TransformNet>& kept,
                                            Layers (*layers)(const ModelFile&));
    const SynthesisLayers& layers_of_g_s();
    const std::shared_ptr<const TransformNet>& beginning(std::size_t count);
    SynthesisNet g_s(double quality, int scale, bool deep);
    bool has_heads(int scale);
    Gain& gain(const std::string& name);

    // Nets of so many qualities stay packed: what is their own takes 2 MB at N = 64.
    static constexpr std::size_t kNetsKept = 4;

    const ModelFile& model_;
    const Isa isa_;
    std::mutex mutex_;
    std::shared_ptr<const TransformNet> g_a_, deep_g_a_, h_a_;
    std::vector<std::shared_ptr<const TransformNet>> begun_;  // g_s's first layer, the first two ...
    std::optional<SynthesisLayers> layers_of_g_s_;
    using Key = std::tuple<double, int,
                           bool>;  // quality, 0 where all have the same layers, scale, and whether it is deep
    std::list<std::pair<Key, SynthesisNet>> g_s_;  // the last used first
    std::map<std::string, Gain> gains_;
};

}  // namespace jahp
