// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <memory>
#include <string_view>

#include "bindings/arrays.hpp"
#include "bindings/model_tensors.hpp"
#include "core/context_decoder.hpp"
#include "core/latent_decode.hpp"

namespace jahp::bind {
namespace {

std::unique_ptr<EntropyModel> make_model(const py::dict& config, const py::dict& tensors, const std::string& isa) {
    return std::make_unique<EntropyModel>(entropy_tensors(config, tensors), parse_isa(isa.c_str()));
}

// Lets the interpreter act on Ctrl-C while the core works, without the interpreter lock most of the time: a photo never
// takes it.
class Signals {
public:
    void operator()() {
        const Clock::time_point now = Clock::now();
        if (now < next_) return;
        const py::gil_scoped_acquire acquire;
        if (PyErr_CheckSignals() != 0) throw py::error_already_set();
        next_ = Clock::now() + kEvery;
    }

private:
    using Clock = std::chrono::steady_clock;
    static constexpr std::chrono::milliseconds kEvery{50};
    Clock::time_point next_ = Clock::now() + kEvery;
};

StreamLayout layout_of(int height, int width, int lanes, int skip, std::size_t min_bytes, const py::bytes& copies,
                       int z_row) {
    const std::string_view kinds = copies;
    return {height, width, lanes, skip, min_bytes, {kinds.begin(), kinds.end()}, z_row};
}

py::dict to_dict(const StageTimes& times) {
    py::dict d;
    d["h_s"] = times.h_s;
    d["ahead"] = times.ahead;
    d["context"] = times.context;
    d["coder"] = times.coder;
    return d;
}

py::tuple to_tuple(const EntropyModel& model, Latents&& l) {
    const py::ssize_t h = l.height, w = l.width, m = model.latents(), hz = l.hyper_height, wz = l.hyper_width,
                      n = model.hyper_latents();
    return py::make_tuple(to_array(std::move(l.z), {hz, wz, n}), to_array(std::move(l.y), {h, w, m}));
}

py::array_t<std::int32_t> next_rows(LatentDecode& decode, int count) {
    std::vector<std::int32_t> rows;
    {
        const py::gil_scoped_release release;
        rows = decode.rows(count, Signals());
    }
    const py::ssize_t w = decode.window().width(), m = decode.model().latents(),
                      n = static_cast<py::ssize_t>(rows.size()) / (w * m);
    return to_array(std::move(rows), {n, w, m});
}

// z and y of an encoder's call: shapes are taken at once, values by copy() when the interpreter lock is released.
struct LatentViews {
    LatentViews(const EntropyModel& model, const py::object& z, const py::object& y)
        : zs(view<std::int32_t>(z, "z", 3)), ys(view<std::int32_t>(y, "y", 3)) {
        const py::array za = z, ya = y;
        latents.height = static_cast<int>(ya.shape(0));
        latents.width = static_cast<int>(ya.shape(1));
        latents.hyper_height = static_cast<int>(za.shape(0));
        latents.hyper_width = static_cast<int>(za.shape(1));
        if (ya.shape(2) != model.latents() || za.shape(2) != model.hyper_latents())
            throw Error(Fault::usage, "latents have the wrong number of channels");
    }

    void copy() {
        latents.z.assign(zs.begin(), zs.end());
        latents.y.assign(ys.begin(), ys.end());
    }

    std::span<const std::int32_t> zs, ys;
    Latents latents;
};

}  // namespace

void register_entropy_model(py::module_& m);
void register_entropy_model(py::module_& m) {
    py::class_<EntropyModel>(m, "EntropyModel")
        .def(py::init(&make_model), py::arg("config"), py::arg("tensors"), py::arg("isa") = "")
        .def(
            "decode",
            [](const EntropyModel& model, const py::buffer& payload, int height, int width, int lanes, int skip,
               std::size_t min_bytes, int threads, const py::bytes& copies, int z_row) {
                const py::buffer_info info = payload.request();
                const auto bytes = bytes_view(info, "payload");
                const StreamLayout layout = layout_of(height, width, lanes, skip, min_bytes, copies, z_row);
                StageTimes times;
                Latents latents;
                {
                    const py::gil_scoped_release release;
                    decode_latents(model, bytes, layout, threads, latents, &times,
                                   [signals = Signals()](int) mutable { signals(); });
                }
                const py::tuple arrays = to_tuple(model, std::move(latents));
                return py::make_tuple(arrays[0], arrays[1], to_dict(times));
            },
            py::arg("payload"), py::arg("height"), py::arg("width"), py::arg("lanes"), py::arg("skip"),
            py::arg("min_bytes"), py::arg("threads"), py::arg("copies") = py::bytes(), py::arg("z_row") = 0)
        .def(
            "start_decode",
            [](const EntropyModel& model, const py::buffer& payload, int height, int width, int lanes, int skip,
               std::size_t min_bytes, int threads, const py::bytes& copies, int z_row, const std::pair<int, int>& rows,
               const std::pair<int, int>& columns) {
                const py::buffer_info info = payload.request();
                return std::make_unique<LatentDecode>(
                    model, bytes_view(info, "payload"), layout_of(height, width, lanes, skip, min_bytes, copies, z_row),
                    threads, LatentWindow{rows.first, rows.second, columns.first, columns.second});
            },
            py::arg("payload"), py::arg("height"), py::arg("width"), py::arg("lanes"), py::arg("skip"),
            py::arg("min_bytes"), py::arg("threads"), py::arg("copies"), py::arg("z_row"), py::arg("rows"),
            py::arg("columns"), py::keep_alive<0, 1>())
        .def(
            "encode",
            [](const EntropyModel& model, const py::object& z, const py::object& y, int lanes, int skip,
               std::size_t min_bytes, int threads, const py::bytes& copies, int z_row) {
                LatentViews views(model, z, y);
                Latents& latents = views.latents;
                StreamLayout layout = layout_of(latents.height, latents.width, lanes, skip, min_bytes, copies, z_row);
                StageTimes times;
                std::vector<std::uint8_t> payload;
                {
                    const py::gil_scoped_release release;
                    views.copy();
                    payload = encode_latents(model, latents, layout, threads, &times, Signals());
                }
                const py::tuple arrays = to_tuple(model, std::move(latents));
                return py::make_tuple(to_bytes(payload), arrays[1], layout.lanes, to_dict(times));
            },
            py::arg("z"), py::arg("y"), py::arg("lanes"), py::arg("skip"), py::arg("min_bytes"), py::arg("threads"),
            py::arg("copies") = py::bytes(), py::arg("z_row") = 0)
        .def(
            "symbols",
            [](const EntropyModel& model, const py::object& z, const py::object& y, int threads) {
                LatentViews views(model, z, y);
                std::vector<std::int32_t> rows, means;
                {
                    const py::gil_scoped_release release;
                    views.copy();
                    const std::vector<Symbol> symbols = symbols_of(model, views.latents, threads, Signals());
                    rows.reserve(symbols.size());
                    means.reserve(symbols.size());
                    for (const Symbol& symbol : symbols) {
                        rows.push_back(symbol.row);
                        means.push_back(symbol.mean);
                    }
                }
                const py::ssize_t h = views.latents.height, w = views.latents.width, c = model.latents();
                return py::make_tuple(to_array(std::move(rows), {h, w, c}), to_array(std::move(means), {h, w, c}));
            },
            py::arg("z"), py::arg("y"), py::arg("threads"));
    py::class_<LatentDecode>(m, "LatentDecode")
        .def("rows", &next_rows, py::arg("count"))
        .def("finish", [](LatentDecode& decode) {
            const py::gil_scoped_release release;
            return decode.finish(Signals());
        });
}

}  // namespace jahp::bind
