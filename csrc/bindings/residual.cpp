// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <functional>

#include "bindings/arrays.hpp"
#include "residual/drawing.hpp"
#include "residual/few_colours.hpp"
#include "residual/overlay.hpp"
#include "residual/residual_transform.hpp"
#include "residual/strips.hpp"
#include "residual/value_set.hpp"

namespace jahp::bind {
namespace {

using Bytes = std::vector<std::uint8_t>;

template <typename Sample = std::uint8_t>
PixelShape shape_of(const py::object& pixels, const char* name) {
    view<Sample>(pixels, name, 3);
    const auto array = py::reinterpret_borrow<py::array>(pixels);
    for (int axis = 0; axis < 3; ++axis)
        if (array.shape(axis) < 1 || array.shape(axis) > 1 << 24)
            throw Error(Fault::usage, std::string(name) + " has a side out of range");
    const PixelShape shape{static_cast<int>(array.shape(0)), static_cast<int>(array.shape(1)),
                           static_cast<int>(array.shape(2))};
    if (shape.channels != 1 && shape.channels != 3)
        throw Error(Fault::usage, std::string(name) + " must have 1 or 3 channels");
    return shape;
}

// One byte a pixel.
std::span<const std::uint8_t> of_pixels(const py::object& numbers, const char* name, PixelShape shape) {
    const auto all = view<std::uint8_t>(numbers, name, 2);
    const auto array = py::reinterpret_borrow<py::array>(numbers);
    if (array.shape(0) != shape.height || array.shape(1) != shape.width)
        throw Error(Fault::usage, std::string(name) + " must have one number a pixel");
    return all;
}

void check_same(PixelShape shape, PixelShape other) {
    if (other.height != shape.height || other.width != shape.width || other.channels != shape.channels)
        throw Error(Fault::usage, "pixels and coarse differ in shape");
}
Trade trade_of(std::int64_t price, std::int64_t bytes) {
    if (price < 0 || price > 1 << 20 || bytes < 0 || bytes > std::int64_t{1} << 32)
        throw Error(Fault::usage, "price or bytes are out of range");
    return {price, bytes};
}
void check_error(int max_error, int bits) {
    if (max_error < 0 || max_error > most_error(bits)) throw Error(Fault::usage, "max_error is out of range");
}
void check_bits(int bits) {
    if (bits < 9 || bits > 16) throw Error(Fault::usage, "bits are out of range");
}
void check_step(int step) {
    if (step < kLeastStep || step > kMostStep) throw Error(Fault::usage, "step is out of range");
}

py::list encoded(const Strips& strips, int threads, const std::function<Bytes(int)>& encode) {
    std::vector<Bytes> data;
    {
        const py::gil_scoped_release release;
        data = strips.encode(threads, encode);
    }
    py::list list;
    for (const Bytes& strip : data) list.append(to_bytes(strip));
    return list;
}

// `decode` says whether it read strip i exactly to its end.
void decoded(const Strips& strips, const py::list& data, int threads,
             const std::function<bool(int, std::span<const std::uint8_t>)>& decode) {
    std::vector<py::bytes> held;
    std::vector<std::span<const std::uint8_t>> views;
    for (const py::handle& strip : data) {
        if (!py::isinstance<py::bytes>(strip)) throw Error(Fault::usage, "a strip must be bytes");
        held.push_back(py::reinterpret_borrow<py::bytes>(strip));
        const std::string_view view = held.back();
        views.emplace_back(reinterpret_cast<const std::uint8_t*>(view.data()), view.size());
    }
    const py::gil_scoped_release release;
    strips.decode(views, threads, decode);
}

template <typename Sample>
void add_residual(py::module_& m, const char* encode, const char* decode) {
    m.def(
        encode,
        [](const py::object& pixels, const py::object& coarse, int step, int rows, int threads) {
            const Strips strips(shape_of<Sample>(pixels, "pixels"), rows);
            check_same(strips.shape, shape_of<Sample>(coarse, "coarse"));
            check_step(step);
            const auto all = view<Sample>(pixels, "pixels", 3), base = view<Sample>(coarse, "coarse", 3);
            return encoded(strips, threads, [&](int i) {
                return encode_residual(strips.part(i, all), strips.part(i, base), strips.of(i), step);
            });
        },
        py::arg("pixels"), py::arg("coarse"), py::arg("step"), py::arg("rows"), py::arg("threads"));
    m.def(
        decode,
        [](const py::list& data, py::array_t<Sample, py::array::c_style>& pixels, int step, int rows, int threads) {
            const Strips strips(shape_of<Sample>(pixels, "pixels"), rows);
            check_step(step);
            const std::span<Sample> all(pixels.mutable_data(), static_cast<std::size_t>(pixels.size()));
            decoded(strips, data, threads, [&](int i, std::span<const std::uint8_t> strip) {
                return decode_residual(strip, strips.of(i), step, strips.part(i, all));
            });
        },
        py::arg("strips"), py::arg("pixels").noconvert(), py::arg("step"), py::arg("rows"), py::arg("threads"));
}

}  // namespace

void register_residual(py::module_& m);
void register_residual(py::module_& m) {
    m.def(
        "encode_exact",
        [](const py::object& pixels, int max_error, int rows, int threads) {
            const Strips strips(shape_of(pixels, "pixels"), rows);
            check_error(max_error, 8);
            const auto all = view<std::uint8_t>(pixels, "pixels", 3);
            return encoded(strips, threads,
                           [&](int i) { return encode_exact(strips.part(i, all), strips.of(i), max_error); });
        },
        py::arg("pixels"), py::arg("max_error"), py::arg("rows"), py::arg("threads"));
    m.def(
        "decode_exact",
        [](const py::list& data, py::array_t<std::uint8_t, py::array::c_style>& pixels, int max_error, int rows,
           int threads) {
            const Strips strips(shape_of(pixels, "pixels"), rows);
            check_error(max_error, 8);
            const std::span<std::uint8_t> all(pixels.mutable_data(), static_cast<std::size_t>(pixels.size()));
            decoded(strips, data, threads, [&](int i, std::span<const std::uint8_t> strip) {
                return decode_exact(strip, strips.of(i), max_error, strips.part(i, all));
            });
        },
        py::arg("strips"), py::arg("pixels").noconvert(), py::arg("max_error"), py::arg("rows"), py::arg("threads"));
    m.def(
        "encode_deep",
        [](const py::object& pixels, int bits, int max_error, int rows, int threads) {
            const Strips strips(shape_of<std::uint16_t>(pixels, "pixels"), rows);
            check_bits(bits);
            check_error(max_error, bits);
            const auto all = view<std::uint16_t>(pixels, "pixels", 3);
            if (*std::max_element(all.begin(), all.end()) >> bits != 0)
                throw Error(Fault::usage, "pixels have more than their bits");
            return encoded(strips, threads,
                           [&](int i) { return encode_exact(strips.part(i, all), strips.of(i), bits, max_error); });
        },
        py::arg("pixels"), py::arg("bits"), py::arg("max_error"), py::arg("rows"), py::arg("threads"));
    m.def(
        "decode_deep",
        [](const py::list& data, py::array_t<std::uint16_t, py::array::c_style>& pixels, int bits, int max_error,
           int rows, int threads) {
            const Strips strips(shape_of<std::uint16_t>(pixels, "pixels"), rows);
            check_bits(bits);
            check_error(max_error, bits);
            const std::span<std::uint16_t> all(pixels.mutable_data(), static_cast<std::size_t>(pixels.size()));
            decoded(strips, data, threads, [&](int i, std::span<const std::uint8_t> strip) {
                return decode_exact(strip, strips.of(i), bits, max_error, strips.part(i, all));
            });
        },
        py::arg("strips"), py::arg("pixels").noconvert(), py::arg("bits"), py::arg("max_error"), py::arg("rows"),
        py::arg("threads"));
    m.def(
        "pack_values",
        [](const py::object& values, int bits) {
            check_bits(bits);
            const auto all = view<std::uint16_t>(values, "values");
            if (all.empty() || all.back() >> bits != 0 ||
                std::adjacent_find(all.begin(), all.end(), std::greater_equal<>()) != all.end())
                throw Error(Fault::usage, "values must rise, and have their bits");
            return to_bytes(pack_values(all, bits));
        },
        py::arg("values"), py::arg("bits"));
    m.def(
        "unpack_values",
        [](const py::bytes& data, int bits) {
            check_bits(bits);
            const std::string_view view = data;
            Values values = unpack_values({reinterpret_cast<const std::uint8_t*>(view.data()), view.size()}, bits);
            const auto count = static_cast<py::ssize_t>(values.size());
            return to_array(std::move(values), {count});
        },
        py::arg("data"), py::arg("bits"));
    m.def(
        "count_repeated",
        [](const py::object& pixels) {
            const PixelShape shape = shape_of(pixels, "pixels");
            const auto all = view<std::uint8_t>(pixels, "pixels", 3);
            const py::gil_scoped_release release;
            return count_repeated(all, shape);
        },
        py::arg("pixels"));
    m.def("is_drawing", &is_drawing, py::arg("repeated"), py::arg("height"), py::arg("width"));
    m.def(
        "merge_colours",
        [](const py::object& pixels, int bound, int contrast, const py::object& holes) {
            const PixelShape shape = shape_of(pixels, "pixels");
            check_error(bound, 8);
            const auto all = view<std::uint8_t>(pixels, "pixels", 3);
            std::span<const std::uint8_t> marked;
            if (!holes.is_none()) marked = of_pixels(holes, "holes", shape);
            Bytes merged;
            {
                const py::gil_scoped_release release;
                merged = merge_colours(all, shape, bound, contrast, marked);
            }
            return to_array(std::move(merged), {shape.height, shape.width, shape.channels});
        },
        py::arg("pixels"), py::arg("bound"), py::arg("contrast"), py::arg("holes") = py::none());
    m.def(
        "encode_colours",
        [](const py::object& pixels, int rows, int threads) {
            const Strips strips(shape_of(pixels, "pixels"), rows);
            const auto all = view<std::uint8_t>(pixels, "pixels", 3);
            return encoded(strips, threads, [&](int i) { return encode_colours(strips.part(i, all), strips.of(i)); });
        },
        py::arg("pixels"), py::arg("rows"), py::arg("threads"));
    m.def(
        "decode_colours",
        [](const py::list& data, py::array_t<std::uint8_t, py::array::c_style>& pixels, int rows, int threads) {
            const Strips strips(shape_of(pixels, "pixels"), rows);
            const std::span<std::uint8_t> all(pixels.mutable_data(), static_cast<std::size_t>(pixels.size()));
            decoded(strips, data, threads, [&](int i, std::span<const std::uint8_t> strip) {
                return decode_colours(strip, strips.of(i), strips.part(i, all));
            });
        },
        py::arg("strips"), py::arg("pixels").noconvert(), py::arg("rows"), py::arg("threads"));
    m.def(
        "encode_overlay",
        [](const py::object& pixels, const py::object& holes, int rows, int threads) {
            const Strips strips(shape_of(pixels, "pixels"), rows);
            const Strips marks({strips.shape.height, strips.shape.width, 1}, rows);
            const auto all = view<std::uint8_t>(pixels, "pixels", 3), marked = of_pixels(holes, "holes", strips.shape);
            return encoded(strips, threads, [&](int i) {
                return encode_overlay(strips.part(i, all), marks.part(i, marked), strips.of(i));
            });
        },
        py::arg("pixels"), py::arg("holes"), py::arg("rows"), py::arg("threads"));
    m.def(
        "decode_overlay",
        [](const py::list& data, py::array_t<std::uint8_t, py::array::c_style>& pixels, int rows, int threads) {
            const Strips strips(shape_of(pixels, "pixels"), rows);
            const std::span<std::uint8_t> all(pixels.mutable_data(), static_cast<std::size_t>(pixels.size()));
            decoded(strips, data, threads, [&](int i, std::span<const std::uint8_t> strip) {
                return decode_overlay(strip, strips.of(i), strips.part(i, all));
            });
        },
        py::arg("strips"), py::arg("pixels").noconvert(), py::arg("rows"), py::arg("threads"));
    m.def("maybe_drawn", &maybe_drawn, py::arg("repeated"), py::arg("height"), py::arg("width"));
    m.def(
        "partly_flat",
        [](const py::object& pixels) {
            const PixelShape shape = shape_of(pixels, "pixels");
            const auto all = view<std::uint8_t>(pixels, "pixels", 3);
            const py::gil_scoped_release release;
            return partly_flat(all, shape);
        },
        py::arg("pixels"));
    m.def(
        "choose_holes",
        [](const py::object& pixels, const py::object& coarse, int rows, std::int64_t price, std::int64_t bytes,
           int threads) {
            const Strips strips(shape_of(pixels, "pixels"), rows);
            check_same(strips.shape, shape_of(coarse, "coarse"));
            const Trade trade = trade_of(price, bytes);
            const auto all = view<std::uint8_t>(pixels, "pixels", 3), base = view<std::uint8_t>(coarse, "coarse", 3);
            Bytes holes;
            {
                const py::gil_scoped_release release;
                const std::vector<std::uint32_t> costs = colour_costs(all, strips, threads);
                holes = choose_holes(all, base, costs, strips.shape, trade);
            }
            if (holes.empty()) return py::object(py::none());
            return py::object(to_array(std::move(holes), {strips.shape.height, strips.shape.width}));
        },
        py::arg("pixels"), py::arg("coarse"), py::arg("rows"), py::arg("price"), py::arg("bytes"), py::arg("threads"));
    m.def(
        "cost_of_holes",
        [](const py::object& pixels, const py::object& coarse, const py::object& holes, std::int64_t price,
           std::int64_t bytes) {
            const PixelShape shape = shape_of(pixels, "pixels");
            check_same(shape, shape_of(coarse, "coarse"));
            const Trade trade = trade_of(price, bytes);
            const auto all = view<std::uint8_t>(pixels, "pixels", 3), base = view<std::uint8_t>(coarse, "coarse", 3),
                       marked = of_pixels(holes, "holes", shape);
            const py::gil_scoped_release release;
            return cost_of_holes(all, base, marked, shape, trade);
        },
        py::arg("pixels"), py::arg("coarse"), py::arg("holes"), py::arg("price"), py::arg("bytes"));
    m.def(
        "beside_plain",
        [](const py::object& pixels, bool linked) {
            const PixelShape shape = shape_of(pixels, "pixels");
            const auto all = view<std::uint8_t>(pixels, "pixels", 3);
            Bytes holes;
            {
                const py::gil_scoped_release release;
                holes = beside_plain(all, shape, linked);
            }
            if (holes.empty()) return py::object(py::none());
            return py::object(to_array(std::move(holes), {shape.height, shape.width}));
        },
        py::arg("pixels"), py::arg("linked"));
    m.def(
        "fill_drawn",
        [](const py::object& pixels, const py::object& holes) {
            const PixelShape shape = shape_of(pixels, "pixels");
            const auto all = view<std::uint8_t>(pixels, "pixels", 3), marked = of_pixels(holes, "holes", shape);
            Bytes filled;
            {
                const py::gil_scoped_release release;
                filled = fill_drawn(all, marked, shape);
            }
            return to_array(std::move(filled), {shape.height, shape.width, shape.channels});
        },
        py::arg("pixels"), py::arg("holes"));
    add_residual<std::uint8_t>(m, "encode_residual", "decode_residual");
    add_residual<std::uint16_t>(m, "encode_deep_residual", "decode_deep_residual");
}

}  // namespace jahp::bind
