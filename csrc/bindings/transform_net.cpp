// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "bindings/arrays.hpp"
#include "bindings/turn.hpp"
#include "core/scaled.hpp"
#include "core/transform_net.hpp"

namespace jahp::bind {
namespace {

constexpr const char *kStream = "a TransformStream", *kTrace = "a GainTrace";
constexpr const char* kLayerForm = " must be (kind, weight, bias, shift, activation, extras)";

Activation activation_of(const std::string& name, const std::string& layer) {
    if (name == "none") return Activation::none;
    if (name == "pixels") return Activation::pixels;
    if (name == "relu") return Activation::relu;
    if (name == "leaky_relu") return Activation::leaky_relu;
    if (name == "gdn") return Activation::gdn;
    if (name == "igdn") return Activation::inverse_gdn;
    if (name == "local") return Activation::local;
    if (name == "igdn_adjoint") return Activation::inverse_gdn_adjoint;
    throw Error(Fault::usage, layer + ": activation " + name +
                                  " is none of none, pixels, relu, leaky_relu, gdn, igdn, local, igdn_adjoint");
}

void take_extras(ConvTensors& t, const py::tuple& extras) {
    const auto name = [&](const char* what) { return t.name + ": " + what; };
    const bool adjoint = t.activation == Activation::inverse_gdn_adjoint;
    const std::size_t count = t.activation == Activation::local || adjoint                                 ? 4
                              : t.activation == Activation::gdn || t.activation == Activation::inverse_gdn ? 3
                                                                                                           : 0;
    if (extras.size() != count)
        throw Error(Fault::usage, t.name + ": " + std::to_string(extras.size()) + " extras where " +
                                      std::to_string(count) + " are wanted");
    if (count == 3) {
        t.gamma = view<std::int16_t>(extras[0], name("gamma").c_str(), 2);
        t.beta = view<std::int32_t>(extras[1], name("beta").c_str());
        t.after_shift = view<std::uint8_t>(extras[2], name("shift of GDN").c_str());
    } else if (adjoint) {
        t.gamma = view<std::int16_t>(extras[0], name("gamma").c_str(), 2);
        t.term = view<float>(extras[1], name("term").c_str());
        t.direct = view<float>(extras[2], name("direct").c_str());
        t.cross = view<float>(extras[3], name("cross").c_str());
    } else if (count == 4) {
        t.steady = view<std::int16_t>(extras[0], name("steady").c_str());
        t.varying = view<std::int16_t>(extras[1], name("varying").c_str());
        t.varying_shift = view<std::uint8_t>(extras[2], name("shift of varying").c_str());
        t.after_shift = view<std::uint8_t>(extras[3], name("shift of the local gain").c_str());
    }
}

ConvTensors conv_tensors(const py::tuple& layer, const std::string& name) {
    if (layer.size() != 6) throw Error(Fault::usage, name + kLayerForm);
    const auto kind = layer[0].cast<std::string>();
    ConvTensors t;
    t.name = name;
    t.weight = view<std::int16_t>(layer[1], (name + ": weight").c_str(), 4);
    t.bias = view<std::int32_t>(layer[2], (name + ": bias").c_str());
    t.shift = view<std::uint8_t>(layer[3], (name + ": shift").c_str());
    const py::array weight = layer[1];
    if (weight.shape(2) != weight.shape(3)) throw Error(Fault::model, name + ": the kernel is not square");
    t.transposed = kind == "deconv";
    t.outputs = static_cast<int>(weight.shape(t.transposed ? 1 : 0));
    t.inputs = static_cast<int>(weight.shape(t.transposed ? 0 : 1));
    t.kernel = static_cast<int>(weight.shape(2));
    if (kind != "conv" && kind != "deconv")
        throw Error(Fault::usage, name + ": kind " + kind + " is none of conv, deconv");
    t.stride = t.transposed || t.kernel == 5 ? 2 : 1;
    t.activation = activation_of(layer[4].cast<std::string>(), name);
    take_extras(t, layer[5].cast<py::tuple>());
    return t;
}

std::vector<ConvTensors> all_tensors(const py::sequence& layers) {
    std::vector<ConvTensors> tensors;
    for (const py::handle layer : layers)
        tensors.push_back(conv_tensors(layer.cast<py::tuple>(), "layer " + std::to_string(tensors.size())));
    return tensors;
}

std::shared_ptr<TransformNet> make_net(const py::sequence& layers, const std::string& isa) {
    const std::vector<ConvTensors> tensors = all_tensors(layers);
    const Isa with = parse_isa(isa.c_str());
    const py::gil_scoped_release release;
    return std::make_shared<TransformNet>(tensors, with);
}

struct Trace : GainTrace {
    using GainTrace::GainTrace;
    Busy busy{false};
};

// Keeps its net and its trace.
struct Stream {
    std::shared_ptr<const TransformNet> net;
    std::shared_ptr<Trace> trace;
    TransformStream stream;
    Busy busy{false};
    Stream(std::shared_ptr<const TransformNet> n, int height, int width, std::shared_ptr<Trace> t)
        : net(std::move(n)), trace(std::move(t)), stream(made(*net, height, width, trace.get())) {}

    static TransformStream made(const TransformNet& net, int height, int width, Trace* trace) {
        const Turn turn(busy_of(trace), kTrace);
        return TransformStream(net, height, width, trace);
    }

    static Busy* busy_of(Trace* trace) { return trace == nullptr ? nullptr : &trace->busy; }

    py::array as_rows(OutputValues&& out) const {
        const py::ssize_t w = stream.output_width(), c = net->outputs();
        return std::visit(
            [&](auto&& values) -> py::array {
                const auto n = static_cast<py::ssize_t>(values.size()) / (w * c);
                return to_array(std::move(values), {n, w, c});
            },
            std::move(out));
    }

    py::array push(const py::object& rows, int threads) {
        const Turn turn(&busy, kStream);
        const Turn other(busy_of(trace.get()), kTrace);
        const auto values = view<std::int16_t>(rows, "rows", 3);
        const py::array array = rows;
        if (array.shape(1) != stream.width() || array.shape(2) != net->inputs())
            throw Error(Fault::usage, "rows must be (count, " + std::to_string(stream.width()) + ", " +
                                          std::to_string(net->inputs()) + ")");
        OutputValues out = net->no_values();
        {
            const py::gil_scoped_release release;
            stream.push(values, threads, out);
        }
        return as_rows(std::move(out));
    }
};

template <typename Out>
py::array scaled_to(std::span<const std::int32_t> x, std::span<const std::int32_t> mul,
                    std::span<const std::uint8_t> shift, std::int32_t limit, const std::vector<py::ssize_t>& shape) {
    py::array_t<Out> out(shape);
    const std::span<Out> values(out.mutable_data(), static_cast<std::size_t>(out.size()));
    {
        const py::gil_scoped_release release;
        scaled(x, mul, shift, limit, values);
    }
    return out;
}

py::array scaled_array(const py::object& x, const py::object& mul, const py::object& shift, std::int32_t limit) {
    const auto values = view<std::int32_t>(x, "x", 3);
    const auto factors = view<std::int32_t>(mul, "mul");
    const auto shifts = view<std::uint8_t>(shift, "shift");
    const py::array array = x;
    if (static_cast<std::size_t>(array.shape(2)) != factors.size())
        throw Error(Fault::usage, "mul must have the " + std::to_string(array.shape(2)) + " channels of x");
    const std::vector<py::ssize_t> shape(array.shape(), array.shape() + 3);
    return limit < 32768 ? scaled_to<std::int16_t>(values, factors, shifts, limit, shape)
                         : scaled_to<std::int32_t>(values, factors, shifts, limit, shape);
}

}  // namespace

void register_transform_net(py::module_& m);
void register_transform_net(py::module_& m) {
    m.def("scaled", &scaled_array, py::arg("x"), py::arg("mul"), py::arg("shift"), py::arg("limit"));
    py::class_<Trace, std::shared_ptr<Trace>>(m, "GainTrace")
        .def(py::init<bool>(), py::arg("inputs") = false)
        .def("squares", [](Trace& trace) {
            const Turn turn(&trace.busy, kTrace);
            py::list levels;
            for (const GainTrace::Level& level : trace.levels())
                levels.append(
                    to_array(std::vector<std::uint32_t>(level.all_squares()), {level.height(), level.width()}));
            return levels;
        });
    py::class_<TransformNet, std::shared_ptr<TransformNet>>(m, "TransformNet")
        .def(py::init(&make_net), py::arg("layers"), py::arg("isa") = "")
        .def(
            "followed_by",
            [](const TransformNet& net, const py::sequence& layers) {
                const std::vector<ConvTensors> tensors = all_tensors(layers);
                const py::gil_scoped_release release;
                return std::make_shared<TransformNet>(net.followed_by(tensors));
            },
            py::arg("layers"))
        .def(
            "run",
            [](std::shared_ptr<TransformNet> net, const py::object& x, int threads, std::shared_ptr<Trace> trace) {
                view<std::int16_t>(x, "x", 3);
                const py::array array = x;
                Stream stream(std::move(net), static_cast<int>(array.shape(0)), static_cast<int>(array.shape(1)),
                              std::move(trace));
                return stream.push(x, threads);
            },
            py::arg("x"), py::arg("threads") = 1, py::arg("trace") = nullptr)
        .def(
            "stream",
            [](std::shared_ptr<TransformNet> net, int height, int width, std::shared_ptr<Trace> trace) {
                return std::make_unique<Stream>(std::move(net), height, width, std::move(trace));
            },
            py::arg("height"), py::arg("width"), py::arg("trace") = nullptr);
    py::class_<Stream>(m, "TransformStream")
        .def("push", &Stream::push, py::arg("rows"), py::arg("threads") = 1)
        .def(
            "finish",
            [](Stream& stream, int) {
                const Turn turn(&stream.busy, kStream);
                stream.stream.finish();
                return stream.as_rows(stream.net->no_values());
            },
            py::arg("threads") = 1);
}

}  // namespace jahp::bind
