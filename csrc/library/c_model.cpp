// SPDX-License-Identifier: Apache-2.0
#include "library/c_calls.hpp"
#include "library/sha256.hpp"

using namespace jahp;

extern "C" {

uint32_t jahp_abi_version(void) { return JAHP_ABI_VERSION; }

const char* jahp_version(void) { return JAHP_LIBRARY_VERSION; }

const char* jahp_status_name(jahp_status status) {
    switch (status) {
        case JAHP_OK:
            return "JAHP_OK";
        case JAHP_FORMAT_ERROR:
            return "JAHP_FORMAT_ERROR";
        case JAHP_MODEL_ERROR:
            return "JAHP_MODEL_ERROR";
        case JAHP_UNKNOWN_MODEL:
            return "JAHP_UNKNOWN_MODEL";
        case JAHP_IMAGE_ERROR:
            return "JAHP_IMAGE_ERROR";
        case JAHP_USAGE_ERROR:
            return "JAHP_USAGE_ERROR";
        case JAHP_NO_MEMORY:
            return "JAHP_NO_MEMORY";
        case JAHP_CANCELLED:
            return "JAHP_CANCELLED";
        case JAHP_FAILED:
            return "JAHP_FAILED";
    }
    return "unknown";
}

jahp_model* jahp_model_new(void) { return new (std::nothrow) jahp_model; }

void jahp_model_free(jahp_model* model) { delete model; }

jahp_status jahp_model_open_file(jahp_model* model, const char* path) {
    if (model == nullptr) return JAHP_USAGE_ERROR;
    return guarded(model->message, [&] {
        model->require_closed();
        require_pointer(path, "path");
        model->model = std::make_shared<CodecModel>(file_source(path), path);
    });
}

jahp_status jahp_model_open_memory(jahp_model* model, const uint8_t* data, size_t size, const char* name) {
    if (model == nullptr) return JAHP_USAGE_ERROR;
    return guarded(model->message, [&] {
        model->require_closed();
        require_pointer(data, "data");
        const std::string called = name == nullptr ? "the model" : name;
        model->model = std::make_shared<CodecModel>(memory_source({data, size}, called), called);
    });
}

jahp_status jahp_model_get_info(jahp_model* model, jahp_model_info* info, size_t info_size) {
    if (model == nullptr) return JAHP_USAGE_ERROR;
    return guarded(model->message, [&] {
        const ModelFile& file = model->opened()->file();
        jahp_model_info out{};
        hexadecimal(file.id()).copy(out.id, sizeof out.id - 1);
        file.config().architecture.copy(out.architecture, sizeof out.architecture - 1);
        out.lowest = file.config().qualities.front();
        out.highest = file.config().qualities.back();
        copy_info(out, info, info_size);
    });
}

const char* jahp_model_message(const jahp_model* model) {
    return model == nullptr ? "there is no model" : model->message.shown();
}

}  // extern "C"
