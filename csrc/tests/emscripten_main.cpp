// SPDX-License-Identifier: Apache-2.0
// Clang 19 calls main another name on WebAssembly than the JavaScript of Emscripten 3.1.6 does, which takes a program
// without the latter for one that has nothing to do.
extern "C" int __main_argc_argv(int argc, char** argv);
extern "C" int begin(int argc, char** argv) __asm__("main");

extern "C" int begin(int argc, char** argv) { return __main_argc_argv(argc, argv); }
