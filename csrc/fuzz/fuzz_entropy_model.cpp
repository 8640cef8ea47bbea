// SPDX-License-Identifier: Apache-2.0
// Input: the tensors of an entropy model, as put() below lays them out | payload.
// A model that the constructor takes must decode without a sum that overflows (which the sanitizer of undefined
// behaviour sees), and give the same with the scalar kernels and the best ones; one that it refuses is refused as a
// model.
#include <algorithm>
#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <span>

#include "fuzz/fuzz.hpp"
#include "tests/random_model.hpp"

namespace {

using namespace jahp;
using Bytes = std::vector<std::uint8_t>;

class Writer {
public:
    template <typename T>
    void number(T value) {
        for (std::size_t i = 0; i < sizeof(T); ++i)
            out_.push_back(
                static_cast<std::uint8_t>(static_cast<std::uint64_t>(static_cast<std::int64_t>(value)) >> (8 * i)));
    }
    template <typename T>
    void vector(std::span<const T> values) {
        number(static_cast<std::uint16_t>(values.size()));
        for (const T v : values) number(v);
    }
    Bytes take() { return std::move(out_); }

private:
    Bytes out_;
};

// Beyond the end everything is 0.
class Reader {
public:
    explicit Reader(std::span<const std::uint8_t> from) : from_(from) {}
    template <typename T>
    T number() {
        std::uint64_t value = 0;
        for (std::size_t i = 0; i < sizeof(T); ++i)
            if (at_ < from_.size()) value |= std::uint64_t{from_[at_++]} << (8 * i);
        return static_cast<T>(value);
    }
    template <typename T>
    std::vector<T> vector() {
        const std::size_t count = std::min<std::size_t>(number<std::uint16_t>(), (from_.size() - at_) / sizeof(T));
        std::vector<T> out(count);
        for (T& v : out) v = number<T>();
        return out;
    }
    Bytes rest() const { return {from_.begin() + static_cast<std::ptrdiff_t>(at_), from_.end()}; }

private:
    std::span<const std::uint8_t> from_;
    std::size_t at_ = 0;
};

void put(Writer& w, const std::vector<LayerTensors>& layers) {
    w.number(static_cast<std::uint8_t>(layers.size()));
    for (const LayerTensors& t : layers) {
        w.number(static_cast<std::uint8_t>(t.outputs));
        w.number(static_cast<std::uint8_t>(t.inputs));
        w.number(static_cast<std::uint8_t>(t.kernel));
        w.vector(t.weight);
        for (const auto& values : {t.bias, t.mul_pos, t.mul_neg, t.shift, t.zero}) w.vector(values);
    }
}

Bytes put(const EntropyTensors& t) {
    Writer w;
    w.number(static_cast<std::uint16_t>(t.latents));
    w.number(static_cast<std::uint16_t>(t.hyper_latents));
    const int flags = (t.conditional ? 1 : 0) | (t.means ? 2 : 0) | (t.context ? 4 : 0) | (t.form == Form::b ? 8 : 0) |
                      (t.prob_bits == 16 ? 16 : 0);
    w.number(static_cast<std::uint8_t>(flags));
    for (const int bits : {t.activation_bits, t.mean_bits, t.z_bits}) w.number(static_cast<std::uint8_t>(bits));
    for (const auto* layers : {&t.h_s, &t.context_prediction, &t.entropy_parameters}) put(w, *layers);
    for (const auto& values : {t.context_mul, t.context_add, t.context_shift, t.z_offset, t.table_low, t.table_size})
        w.vector(values);
    w.vector(t.table_starts);
    for (const auto& values : {t.scale_thresholds, t.scale_row, t.scale_drop}) w.vector(values);
    return w.take();
}

// Owns what its tensors are views of.
class Model {
public:
    explicit Model(std::span<const std::uint8_t> input) : r_(input) {
        t_.latents = r_.number<std::uint16_t>();
        t_.hyper_latents = r_.number<std::uint16_t>();
        const auto flags = r_.number<std::uint8_t>();
        t_.conditional = (flags & 1) != 0;
        t_.means = (flags & 2) != 0;
        t_.context = (flags & 4) != 0;
        t_.form = (flags & 8) != 0 ? Form::b : Form::a;
        t_.prob_bits = (flags & 16) != 0 ? 16 : 15;
        for (int* bits : {&t_.activation_bits, &t_.mean_bits, &t_.z_bits}) *bits = r_.number<std::uint8_t>();
        for (auto* layers : {&t_.h_s, &t_.context_prediction, &t_.entropy_parameters}) take(*layers);
        for (auto* values :
             {&t_.context_mul, &t_.context_add, &t_.context_shift, &t_.z_offset, &t_.table_low, &t_.table_size})
            *values = integers();
        starts_ = r_.vector<std::uint16_t>();
        t_.table_starts = starts_;
        for (auto* values : {&t_.scale_thresholds, &t_.scale_row, &t_.scale_drop}) *values = integers();
    }

    std::unique_ptr<EntropyModel> build(Isa isa) const {
        try {
            return std::make_unique<EntropyModel>(t_, isa);
        } catch (const Error& e) {
            fuzz_require(e.fault() == Fault::model, "a model was refused as something else");
            return nullptr;
        }
    }
    Bytes payload() const { return r_.rest(); }

private:
    std::span<const std::int32_t> integers() { return integers_.emplace_back(r_.vector<std::int32_t>()); }

    void take(std::vector<LayerTensors>& layers) {
        for (int i = r_.number<std::uint8_t>() % 5; i > 0; --i) {
            const int outputs = r_.number<std::uint8_t>(), inputs = r_.number<std::uint8_t>(),
                      kernel = r_.number<std::uint8_t>();
            const std::span<const std::int8_t> weight = bytes_.emplace_back(r_.vector<std::int8_t>());
            std::array<std::span<const std::int32_t>, 5> v;
            for (auto& values : v) values = integers();
            layers.push_back({"layer", outputs, inputs, kernel, weight, v[0], v[1], v[2], v[3], v[4]});
        }
    }

    Reader r_;
    EntropyTensors t_;
    std::deque<std::vector<std::int8_t>> bytes_;
    std::deque<std::vector<std::int32_t>> integers_;
    std::vector<std::uint16_t> starts_;
};

std::optional<Latents> attempt(const EntropyModel& model, const Bytes& payload) {
    try {
        return decode_latents(model, payload, {2, 3, 2, 0, 0}, 1);
    } catch (const Error& e) {
        fuzz_require(e.fault() == Fault::format, "a damaged payload raised something else than a format error");
        return std::nullopt;
    }
}

}  // namespace

std::vector<std::uint8_t> fuzz_seed(std::uint32_t n) {
    test::ModelShape shape;
    shape.hyper = n % 3 != 2;
    shape.context = n % 2 == 0 || !shape.hyper;
    shape.form = n / 2 % 2 == 0 || shape.factorized() ? Form::a : Form::b;
    shape.activation_bits = n / 4 % 2 == 0 ? 8 : 16;
    shape.prob_bits = 15 + static_cast<int>(n / 8 % 2);
    shape.kernel = n / 16 % 2 == 0 ? 3 : 5;
    shape.latents = 1 + static_cast<int>(n / 32 % 2);
    shape.hyper_latents = 1;
    if (n % 13 == 12) shape = {.hyper = false, .context = false};
    const test::RandomModel random(shape, n);
    Bytes out = put(random.tensors());
    const auto model = random.build(Isa::scalar);
    test::Random values(n);
    Latents latents = test::random_latents(*model, values, 2, 3, 30);
    StreamLayout layout{2, 3, 2, 0, 0};
    const Bytes payload = encode_latents(*model, latents, layout, 1);
    out.insert(out.end(), payload.begin(), payload.end());
    return out;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Model input({data, size});
    const auto scalar = input.build(Isa::scalar);
    if (scalar == nullptr) return 0;
    const auto best = input.build(best_isa());
    fuzz_require(best != nullptr, "a model was refused for its instruction set");
    const Bytes payload = input.payload();
    const auto one = attempt(*scalar, payload), two = attempt(*best, payload);
    fuzz_require(one.has_value() == two.has_value(), "kernels disagree whether the payload is sound");
    fuzz_require(!one || (one->y == two->y && one->z == two->z), "kernels disagree on the latents");
    return 0;
}
