// SPDX-License-Identifier: Apache-2.0
// Table of contents of jahp_fast._native; the Python side (jahp_fast/_native.pyi) carries the documentation.
#include <pybind11/pybind11.h>

#include "bindings/errors.hpp"

namespace jahp::bind {
void register_annealing(pybind11::module_& m);
void register_checksums(pybind11::module_& m);
void register_cpu(pybind11::module_& m);
void register_range_coder(pybind11::module_& m);
void register_entropy_model(pybind11::module_& m);
void register_residual(pybind11::module_& m);
void register_step_search(pybind11::module_& m);
void register_transform_net(pybind11::module_& m);
}  // namespace jahp::bind

// Without the interpreter lock: models and nets are immutable, what changes has a turn.hpp, and the rest are functions.
PYBIND11_MODULE(_native, m, pybind11::mod_gil_not_used()) {
    m.doc() = "C++ core of jahp_fast; not public, see jahp_fast.Codec.";
    jahp::bind::register_errors();
    jahp::bind::register_annealing(m);
    jahp::bind::register_checksums(m);
    jahp::bind::register_cpu(m);
    jahp::bind::register_range_coder(m);
    jahp::bind::register_entropy_model(m);
    jahp::bind::register_residual(m);
    jahp::bind::register_step_search(m);
    jahp::bind::register_transform_net(m);
}
