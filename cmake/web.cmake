# jahp.wasm, or with JAHP_WASM_THREADS jahp-threads.wasm: the library and csrc/web/face.cpp as one module without files and JavaScript of
# Emscripten's; web/src/engine.js runs it.
set(JAHP_WEB_EXPORTS _jahp_model_new _jahp_model_free _jahp_model_open_memory _jahp_model_message _jahp_decoder_new _jahp_decoder_free
    _jahp_decoder_set _jahp_decoder_add_model _jahp_decoder_open _jahp_decoder_get_chunk _jahp_decoder_rows _jahp_decoder_message
    _jahp_encoder_new _jahp_encoder_free _jahp_encoder_set _jahp_encoder_set_quality _jahp_encoder_set_model _jahp_encoder_set_chunk
    _jahp_encoder_encode _jahp_encoder_message)
add_executable(jahp_web csrc/web/face.cpp)
target_link_libraries(jahp_web PRIVATE jahp_library)
target_compile_options(jahp_web PRIVATE -Wall -Wextra -Wshadow -Wconversion)
if(JAHP_WASM_THREADS)  # what web/src/threads.js starts and ends a thread by
  list(APPEND JAHP_WEB_EXPORTS __emscripten_thread_init __emscripten_thread_exit _emscripten_tls_init
      _emscripten_stack_set_limits stackRestore)
  target_link_options(jahp_web PRIVATE -O2)  # names stay
  set_target_properties(jahp_web PROPERTIES OUTPUT_NAME jahp-threads SUFFIX .js)  # which goes unused
else()
  target_link_options(jahp_web PRIVATE -sSTANDALONE_WASM)
  set_target_properties(jahp_web PROPERTIES OUTPUT_NAME jahp SUFFIX .wasm)
endif()
list(JOIN JAHP_WEB_EXPORTS "," JAHP_WEB_EXPORTS)
target_link_options(jahp_web PRIVATE --no-entry -sALLOW_MEMORY_GROWTH -sINITIAL_MEMORY=16MB -sMAXIMUM_MEMORY=2GB -sTOTAL_STACK=1MB -sEXPORTED_FUNCTIONS=${JAHP_WEB_EXPORTS})
