# musl and libc++ by zig's clang (`pip install ziglang`), linked statically: JAHP_ZIG names a script that runs «zig c++».
set(CMAKE_CXX_COMPILER $ENV{JAHP_ZIG} -target x86_64-linux-musl)
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)
