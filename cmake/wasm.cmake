# Cross-compiles to WebAssembly with Emscripten and runs what is built, tests included, in Node.js.
find_program(JAHP_EMCC NAMES em++)
find_program(JAHP_NODE NAMES node)
if(NOT JAHP_EMCC)
  message(FATAL_ERROR "No em++: install the package emscripten.")
endif()
if(NOT JAHP_NODE)
  message(FATAL_ERROR "No node: install the package nodejs.")
endif()
execute_process(COMMAND em-config EMSCRIPTEN_ROOT OUTPUT_VARIABLE JAHP_EMSCRIPTEN OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
# Debian's Emscripten calls clang 14, whose threads share one place for what a handler caught: with clang 19 each has its own, as
# Emscripten's libraries expect. These are taken as they are.
find_program(JAHP_WASM_CLANG NAMES clang++-19)
find_program(JAHP_WASM_LINKER NAMES wasm-ld-19)
if(NOT JAHP_WASM_CLANG OR NOT JAHP_WASM_LINKER)
  message(FATAL_ERROR "No clang++-19 or wasm-ld-19: install the packages clang-19 and lld-19.")
endif()
file(READ ${JAHP_EMSCRIPTEN}/.emscripten JAHP_EM_CONFIG)
string(REGEX REPLACE "_ADD_VERSION = '[0-9]+'" "_ADD_VERSION = '19'" JAHP_EM_CONFIG "${JAHP_EM_CONFIG}")
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/emscripten.py CONTENT "${JAHP_EM_CONFIG}" @ONLY)
set(EMSCRIPTEN_SYSTEM_PROCESSOR wasm32)
include(${JAHP_EMSCRIPTEN}/cmake/Modules/Platform/Emscripten.cmake)
# Where Debian's packages for Node.js lie, which a Node.js from elsewhere does not look at.
set(CMAKE_CXX_LINKER_LAUNCHER ${CMAKE_COMMAND} -E env NODE_PATH=/usr/share/nodejs)
# With fetch() of its own, Node.js would be taken for a browser.
set(CMAKE_CROSSCOMPILING_EMULATOR ${JAHP_NODE} --no-experimental-fetch)
# Exceptions as instructions of WebAssembly: those through JavaScript cost a call out at every call that may throw.
set(JAHP_WASM_OPTIONS -fwasm-exceptions --em-config ${CMAKE_BINARY_DIR}/emscripten.py -Wno-version-check)
if(JAHP_WASM_THREADS)
  list(APPEND JAHP_WASM_OPTIONS -pthread -Wno-pthreads-mem-growth)
endif()
add_compile_options(${JAHP_WASM_OPTIONS})
add_link_options(${JAHP_WASM_OPTIONS})
