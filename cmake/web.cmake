# jahp.wasm: the library and csrc/web/face.cpp as one module without files, threads and JavaScript of Emscripten's; web/src/engine.js runs it.
set(JAHP_WEB_EXPORTS _jahp_model_new _jahp_model_free _jahp_model_open_memory _jahp_model_message _jahp_decoder_new _jahp_decoder_free
    _jahp_decoder_set _jahp_decoder_add_model _jahp_decoder_open _jahp_decoder_get_chunk _jahp_decoder_rows _jahp_decoder_message
    _jahp_encoder_new _jahp_encoder_free _jahp_encoder_set _jahp_encoder_set_quality _jahp_encoder_set_model _jahp_encoder_set_chunk
    _jahp_encoder_encode _jahp_encoder_message)
list(JOIN JAHP_WEB_EXPORTS "," JAHP_WEB_EXPORTS)
add_executable(jahp_web csrc/web/face.cpp)
target_link_libraries(jahp_web PRIVATE jahp_library)
target_compile_options(jahp_web PRIVATE -Wall -Wextra -Wshadow -Wconversion)
target_link_options(jahp_web PRIVATE --no-entry -sSTANDALONE_WASM -sALLOW_MEMORY_GROWTH -sTOTAL_STACK=1MB -sEXPORTED_FUNCTIONS=${JAHP_WEB_EXPORTS})
set_target_properties(jahp_web PROPERTIES OUTPUT_NAME jahp SUFFIX .wasm)
