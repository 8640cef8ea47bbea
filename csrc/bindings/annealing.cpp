// SPDX-License-Identifier: Apache-2.0
#include "core/annealing.hpp"

#include <memory>

#include "bindings/arrays.hpp"
#include "bindings/turn.hpp"

namespace jahp::bind {
namespace {

constexpr const char* kName = "an Annealing";

struct Drawn {
    Annealing annealing;
    py::ssize_t height, width;
    Busy busy{false};

    Drawn(Annealing&& begun, py::ssize_t h, py::ssize_t w) : annealing(std::move(begun)), height(h), width(w) {}

    py::array array(std::vector<std::int32_t>&& values) const {
        return to_array(std::move(values), {height, width, annealing.channels()});
    }
};

std::unique_ptr<Drawn> begin(const py::object& start) {
    const auto values = view<float>(start, "start", 3);
    const py::array array = start;
    if (values.empty()) throw Error(Fault::usage, "start has no latents");
    return std::make_unique<Drawn>(Annealing(values, static_cast<int>(array.shape(2))), array.shape(0), array.shape(1));
}

}  // namespace

void register_annealing(py::module_& m);
void register_annealing(py::module_& m) {
    py::class_<Drawn>(m, "Annealing")
        .def(py::init(&begin), py::arg("start"))
        .def(
            "draw",
            [](Drawn& drawn, float width, std::uint32_t round) {
                const Turn turn(&drawn.busy, kName);
                if (!(width > 0)) throw Error(Fault::usage, "width must be positive");
                std::vector<std::int32_t> symbols;
                {
                    const py::gil_scoped_release release;
                    drawn.annealing.draw(width, round);
                    symbols = drawn.annealing.symbols();
                }
                return drawn.array(std::move(symbols));
            },
            py::arg("width"), py::arg("round"))
        .def("below",
             [](Drawn& drawn) {
                 const Turn turn(&drawn.busy, kName);
                 return drawn.array(drawn.annealing.below());
             })
        .def(
            "move",
            [](Drawn& drawn, const py::object& slope, const py::object& bits, const py::object& curvature, float mean,
               float square, float rate, float squares) {
                const Turn turn(&drawn.busy, kName);
                const auto u = view<float>(slope, "slope", 3), b = view<float>(bits, "bits", 3),
                           c = view<float>(curvature, "curvature");
                const py::gil_scoped_release release;
                drawn.annealing.move(u, b, c, {mean, square, rate, squares});
            },
            py::arg("slope"), py::arg("bits"), py::arg("curvature"), py::arg("mean"), py::arg("square"),
            py::arg("rate"), py::arg("squares"))
        .def("nearest", [](Drawn& drawn) {
            const Turn turn(&drawn.busy, kName);
            return drawn.array(drawn.annealing.nearest());
        });
}

}  // namespace jahp::bind
