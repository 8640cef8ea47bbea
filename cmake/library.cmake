# libjahp, static and shared: the core and what reads files, behind csrc/include/jahp.h. Needs the headers of JSON for Modern C++ (Debian's
# nlohmann-json3-dev, or the package nlohmann_json of PyPI), and no Python.
file(GLOB JAHP_JSON_HINTS ${CMAKE_SOURCE_DIR}/.venv/lib/python3*/site-packages/nlohmann_json/include)
find_path(JAHP_JSON_INCLUDE nlohmann/json.hpp HINTS ${JAHP_JSON_HINTS} NO_CMAKE_FIND_ROOT_PATH)
if(NOT JAHP_JSON_INCLUDE)
  message(FATAL_ERROR "libjahp needs nlohmann/json.hpp: install nlohmann-json3-dev, or name its folder with -DJAHP_JSON_INCLUDE=...")
endif()

add_library(jahp_library OBJECT
  csrc/library/byte_source.cpp
  csrc/library/c_decoder.cpp
  csrc/library/c_encoder.cpp
  csrc/library/c_model.cpp
  csrc/library/codec_model.cpp
  csrc/library/container.cpp
  csrc/library/copy_map.cpp
  csrc/library/file_source_$<IF:$<BOOL:${WIN32}>,windows,posix>.cpp
  csrc/library/gains.cpp
  csrc/library/json_text.cpp
  csrc/library/latent_files.cpp
  csrc/library/layer_chunk.cpp
  csrc/library/deep_layer.cpp
  csrc/library/drawings.cpp
  csrc/library/encoder_checks.cpp
  csrc/library/exact_files.cpp
  csrc/library/model_check.cpp
  csrc/library/model_config.cpp
  csrc/library/model_file.cpp
  csrc/library/picture.cpp
  csrc/library/picture_decoder.cpp
  csrc/library/picture_encoder.cpp
  csrc/library/rate_control.cpp
  csrc/library/sha256.cpp
  csrc/library/small_pictures.cpp
  csrc/library/symbol_bits.cpp
  csrc/library/tensor_file.cpp
  csrc/library/transform_tensors.cpp
  csrc/library/transforms.cpp
  csrc/library/view.cpp)
target_compile_definitions(jahp_library PRIVATE JAHP_BUILDING JAHP_LIBRARY_VERSION="${PROJECT_VERSION}")
target_include_directories(jahp_library SYSTEM PRIVATE ${JAHP_JSON_INCLUDE})
target_link_libraries(jahp_library PUBLIC jahp_core)
# gcc 12 sees an overlap inside of std::string's own operator +.
target_compile_options(jahp_library PRIVATE -Wall -Wextra -Wshadow -Wconversion $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)
if(JAHP_WERROR)
  target_compile_options(jahp_library PRIVATE -Werror)
endif()
# Equal to its plain version to the bit: products and sums are not fused.
set_source_files_properties(csrc/library/symbol_bits.cpp PROPERTIES COMPILE_OPTIONS "-ffp-contract=off")

if(EMSCRIPTEN)
  include(cmake/web.cmake)
  return()
endif()

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(JAHP_KINDS static)
get_property(JAHP_SHARED GLOBAL PROPERTY TARGET_SUPPORTS_SHARED_LIBS)
if(JAHP_SHARED)
  list(APPEND JAHP_KINDS shared)
endif()
foreach(kind ${JAHP_KINDS})
  string(TOUPPER ${kind} KIND)
  add_library(jahp_${kind} ${KIND} $<TARGET_OBJECTS:jahp_library> $<TARGET_OBJECTS:jahp_core>)
  target_include_directories(jahp_${kind} PUBLIC $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/csrc/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(jahp_${kind} PRIVATE Threads::Threads $<$<BOOL:${WIN32}>:synchronization>)
  set_target_properties(jahp_${kind} PROPERTIES OUTPUT_NAME jahp LINKER_LANGUAGE CXX EXPORT_NAME ${kind}
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR} ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR} RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
  install(TARGETS jahp_${kind} EXPORT jahp ARCHIVE COMPONENT library LIBRARY COMPONENT library RUNTIME COMPONENT library)
endforeach()
if(JAHP_SHARED)
  set_target_properties(jahp_shared PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION 1)  # the second number is JAHP_ABI_VERSION
  if(NOT WIN32 AND NOT APPLE)  # templates of the standard library stay inside too; where there is no such list they do anyway
    set_target_properties(jahp_shared PROPERTIES
      LINK_FLAGS "-Wl,--version-script=${CMAKE_SOURCE_DIR}/cmake/libjahp.map" LINK_DEPENDS ${CMAKE_SOURCE_DIR}/cmake/libjahp.map)
  endif()
endif()

set(JAHP_PACKAGE ${CMAKE_INSTALL_LIBDIR}/cmake/jahp)
configure_package_config_file(cmake/jahpConfig.cmake.in ${CMAKE_BINARY_DIR}/jahpConfig.cmake INSTALL_DESTINATION ${JAHP_PACKAGE})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/jahpConfigVersion.cmake COMPATIBILITY SameMinorVersion)
if(WIN32)
  set(JAHP_SYSTEM_LIBS " -lsynchronization")
endif()
configure_file(cmake/libjahp.pc.in ${CMAKE_BINARY_DIR}/libjahp.pc @ONLY)
install(EXPORT jahp NAMESPACE jahp:: FILE jahpTargets.cmake DESTINATION ${JAHP_PACKAGE} COMPONENT library)
install(FILES ${CMAKE_BINARY_DIR}/jahpConfig.cmake ${CMAKE_BINARY_DIR}/jahpConfigVersion.cmake DESTINATION ${JAHP_PACKAGE} COMPONENT library)
install(FILES ${CMAKE_BINARY_DIR}/libjahp.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT library)
install(FILES csrc/include/jahp.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT library)
