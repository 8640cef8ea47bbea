// SPDX-License-Identifier: Apache-2.0
// What web/src/engine.js calls besides the functions of jahp.h: the structs of that header as rows of numbers, so that
// no layout in memory is written down twice.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <iterator>

#if defined(__EMSCRIPTEN_PTHREADS__)
#include <pthread.h>
#endif

#include "include/jahp.h"

#define JAHP_WEB extern "C" __attribute__((visibility("default"), used))

namespace {

constexpr std::size_t kIdSize = sizeof(jahp_info::model);

}  // namespace

// Null where there is no room for it.
JAHP_WEB void* jahp_web_allocate(std::size_t size) { return std::malloc(std::max<std::size_t>(size, 1)); }
JAHP_WEB void jahp_web_release(void* memory) { std::free(memory); }

// A trap: what JavaScript throws would be caught on its way by the library, which would end itself again.
JAHP_WEB void jahp_web_trap() { __builtin_trap(); }

// width, height, channels, grey, alpha, max_error, quality, base_quality, payload_size, depth; and the model's id in
// hexadecimal with its zero.
JAHP_WEB int jahp_web_info(jahp_decoder* decoder, double* numbers, char* model) {
    jahp_info info;
    const jahp_status status = jahp_decoder_get_info(decoder, &info, sizeof info);
    if (status != JAHP_OK) return status;
    const double values[] = {static_cast<double>(info.width),
                             static_cast<double>(info.height),
                             static_cast<double>(info.channels),
                             static_cast<double>(info.grey),
                             static_cast<double>(info.alpha),
                             static_cast<double>(info.max_error),
                             info.quality,
                             info.base_quality,
                             static_cast<double>(info.payload_size),
                             static_cast<double>(info.depth)};
    std::copy(std::begin(values), std::end(values), numbers);
    std::copy_n(info.model, kIdSize, model);
    return status;
}

// Of a region at a scale, all of it where `whole` is not 0; all of them whole numbers. size: width and height of what
// is decoded then.
JAHP_WEB int jahp_web_view(jahp_decoder* decoder, double scale, int whole, double left, double top, double width,
                           double height, double* size) {
    const auto number = [](double value) { return static_cast<std::int64_t>(value); };
    const jahp_region region{number(left), number(top), number(width), number(height)};
    jahp_status status = jahp_decoder_set_view(decoder, static_cast<std::int32_t>(scale),
                                               whole != 0 ? nullptr : &region);
    jahp_info info;
    if (status == JAHP_OK) status = jahp_decoder_get_info(decoder, &info, sizeof info);
    if (status != JAHP_OK) return status;
    size[0] = static_cast<double>(info.view_width);
    size[1] = static_cast<double>(info.view_height);
    return status;
}

// The id of an open model in hexadecimal, with its zero.
JAHP_WEB int jahp_web_model_id(jahp_model* model, char* id) {
    jahp_model_info info;
    const jahp_status status = jahp_model_get_info(model, &info, sizeof info);
    if (status == JAHP_OK) std::copy_n(info.id, kIdSize, id);
    return status;
}

#if defined(__EMSCRIPTEN_PTHREADS__)
// The end of the stack of a thread that has been made: it grows down to here.
JAHP_WEB void* jahp_web_stack(pthread_t thread) {
    pthread_attr_t attributes;
    void* end = nullptr;
    std::size_t size = 0;
    if (pthread_getattr_np(thread, &attributes) == 0) pthread_attr_getstack(&attributes, &end, &size);
    return end;
}
#endif
