// SPDX-License-Identifier: Apache-2.0
#include "core/step_search.hpp"

#include "bindings/arrays.hpp"

namespace jahp::bind {

void register_step_search(py::module_& m);
void register_step_search(py::module_& m) {
    m.def(
        "best_steps",
        [](const py::object& slope, const py::object& curvature, const py::object& answer, const py::object& down,
           const py::object& up, const py::object& interaction, float margin) {
            StepProblem p{};
            p.slope = view<float>(slope, "slope", 3);
            p.curvature = view<float>(curvature, "curvature");
            p.answer = view<float>(answer, "answer", 2);
            p.down = view<float>(down, "down", 3);
            p.up = view<float>(up, "up", 3);
            p.interaction = view<float>(interaction, "interaction", 4);
            p.margin = margin;
            const py::array shape = slope;
            p.height = static_cast<int>(shape.shape(0));
            p.width = static_cast<int>(shape.shape(1));
            p.channels = static_cast<int>(shape.shape(2));
            std::vector<std::int32_t> steps;
            {
                const py::gil_scoped_release release;
                steps = best_steps(p);
            }
            return to_array(std::move(steps), {p.height, p.width, p.channels});
        },
        py::arg("slope"), py::arg("curvature"), py::arg("answer"), py::arg("down"), py::arg("up"),
        py::arg("interaction"), py::arg("margin"));
}

}  // namespace jahp::bind
