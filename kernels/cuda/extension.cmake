# The extension module _cuda, where a CUDA compiler that works and its toolkit are found; otherwise nothing, without a word of warning.
include(CheckLanguage)
check_language(CUDA)
find_package(CUDAToolkit QUIET)
if(NOT CMAKE_CUDA_COMPILER OR NOT TARGET CUDA::cudart_static OR CUDAToolkit_VERSION VERSION_LESS 12.1)  # parameters beyond 4 KB
  return()
endif()
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES "80-real;90-real;90-virtual")
endif()
enable_language(CUDA)
set(CMAKE_CUDA_STANDARD 17)  # the newest that CMake 3.25 knows for nvcc
set(CMAKE_CUDA_STANDARD_REQUIRED ON)

# NO_EXTRAS: link-time optimisation of one call into the runtime would cost seconds and gain nothing.
pybind11_add_module(_cuda NO_EXTRAS
  kernels/cuda/bindings.cpp
  kernels/cuda/context_decode.cu
  kernels/cuda/context_plan.cpp
  kernels/cuda/device_model.cpp
  kernels/cuda/symbol_checksum.cu)
target_include_directories(_cuda PRIVATE csrc kernels/cuda)
target_link_libraries(_cuda PRIVATE CUDA::cudart_static)
target_compile_options(_cuda PRIVATE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Wconversion>
  $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Wshadow>)
if(JAHP_WERROR)
  target_compile_options(_cuda PRIVATE
    $<$<COMPILE_LANGUAGE:CXX>:-Werror>
    "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-Werror all-warnings -Xcompiler=-Werror>")
endif()
install(TARGETS _cuda DESTINATION jahp_fast)
