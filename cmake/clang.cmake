# The newest clang at hand, under whatever name it is installed.
find_program(JAHP_CLANG NAMES clang++-21 clang++-20 clang++-19 clang++-18 clang++-17 clang++-16 clang++)
if(NOT JAHP_CLANG)
  message(FATAL_ERROR "No clang++: install the package clang-19, or clang.")
endif()
set(CMAKE_CXX_COMPILER ${JAHP_CLANG})
