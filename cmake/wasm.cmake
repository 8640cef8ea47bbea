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
set(EMSCRIPTEN_SYSTEM_PROCESSOR wasm32)
include(${JAHP_EMSCRIPTEN}/cmake/Modules/Platform/Emscripten.cmake)
# Where Debian's packages for Node.js lie, which a Node.js from elsewhere does not look at.
set(CMAKE_CXX_LINKER_LAUNCHER ${CMAKE_COMMAND} -E env NODE_PATH=/usr/share/nodejs)
# With fetch() of its own, Node.js would be taken for a browser.
set(CMAKE_CROSSCOMPILING_EMULATOR ${JAHP_NODE} --no-experimental-fetch)
# Exceptions as instructions of WebAssembly: those through JavaScript cost a call out at every call that may throw.
set(CMAKE_CXX_FLAGS_INIT -fwasm-exceptions)
