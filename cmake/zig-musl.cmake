# musl and libc++ by zig's clang (`pip install ziglang`), linked statically; JAHP_ZIG is the program zig.
set(CMAKE_CXX_COMPILER $ENV{JAHP_ZIG} c++ -target x86_64-linux-musl)
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)
