# How CUDA code is built: for A100 and newer, with the shared runtime, so that tests can put another in its place. Sets
# OCTET_USES_CUDA.
set(OCTET_USES_CUDA OFF)
if(OCTET_CUDA STREQUAL "AUTO")
  find_package(CUDAToolkit 12 QUIET)
  find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
  if(CUDAToolkit_NVCC_EXECUTABLE AND NCCL_INCLUDE_DIR)
    set(OCTET_USES_CUDA ON)
  endif()
elseif(OCTET_CUDA)
  find_package(CUDAToolkit 12 REQUIRED)
  set(OCTET_USES_CUDA ON)
endif()
message(STATUS "CUDA backend: ${OCTET_USES_CUDA}")
if(NOT OCTET_USES_CUDA)
  return()
endif()

if(NOT CMAKE_CUDA_COMPILER)
  set(CMAKE_CUDA_COMPILER ${CUDAToolkit_NVCC_EXECUTABLE})
endif()
# Machine code of each, and PTX of 8.0 for what comes.
set(CMAKE_CUDA_ARCHITECTURES "80;86-real;89-real;90-real" CACHE STRING "Compute capabilities to build for")
set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)
set(CMAKE_CUDA_EXTENSIONS OFF)
enable_language(CUDA)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know that nvcc has C++20
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()

add_custom_target(cuda_tests COMMENT "The tests that run on the software GPU")

# octet_add_cuda_tests(NAME libraries...): one GoogleTest program of every *_test.cc and *_test.cu in this folder, each
# test known to ctest, which runs it on the software GPU (tests/softgpu) with its checks off.
function(octet_add_cuda_tests name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_test.cc ${CMAKE_CURRENT_SOURCE_DIR}/*_test.cu)
  add_executable(${name}_tests ${sources})
  target_link_libraries(${name}_tests PRIVATE octet_flags CUDA::cudart GTest::gmock GTest::gtest_main ${ARGN})
  target_compile_definitions(${name}_tests PRIVATE OCTET_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  target_compile_options(${name}_tests PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-O1>)  # as in octet_add_tests
  add_dependencies(${name}_tests softgpu)
  add_dependencies(cuda_tests ${name}_tests)
  gtest_discover_tests(${name}_tests TEST_PREFIX ${name}. DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 120
    PROPERTIES LABELS cuda ENVIRONMENT "LD_LIBRARY_PATH=${SOFTGPU_LIBRARY_DIR}")
endfunction()

# octet_check_cuda_tests(NAME SETTING...): the program NAME_tests once more, as one test under the given settings of the
# software GPU, such as SOFTGPU_RACECHECK=1.
function(octet_check_cuda_tests name)
  string(REPLACE ";" "," label "${ARGN}")
  add_test(NAME ${name}.${label} COMMAND ${name}_tests --gtest_brief=1)
  set_tests_properties(${name}.${label} PROPERTIES
    LABELS cuda ENVIRONMENT "LD_LIBRARY_PATH=${SOFTGPU_LIBRARY_DIR};${ARGN}")
endfunction()
