# macOS by zig's clang (`pip install ziglang`), which has stubs of the system's libraries: compiles and links, and nothing here runs it.
# JAHP_ZIG is the program zig, JAHP_MACOS_CPU aarch64 or x86_64.
set(CMAKE_SYSTEM_NAME Darwin)
set(CMAKE_SYSTEM_PROCESSOR $ENV{JAHP_MACOS_CPU})
set(CMAKE_CXX_COMPILER $ENV{JAHP_ZIG} c++ -target $ENV{JAHP_MACOS_CPU}-macos.11.0)
# What CMake asks of a compiler is compiled only: the first link builds libc++.
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(CMAKE_CXX_ARCHIVE_CREATE "$ENV{JAHP_ZIG} ar qc <TARGET> <OBJECTS>")
set(CMAKE_CXX_ARCHIVE_FINISH "$ENV{JAHP_ZIG} ranlib <TARGET>")
set(CMAKE_INSTALL_NAME_TOOL true)
