# How a room of the house is built: one static library a folder, warnings as errors, headers included from the root.

add_library(octet_flags INTERFACE)
target_include_directories(octet_flags INTERFACE ${CMAKE_CURRENT_LIST_DIR}/.. ${CMAKE_BINARY_DIR})
# Contracted multiply-adds would make an element's bits depend on the compiler; kernels ask for them by name.
target_compile_options(octet_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Werror -Wshadow -Wconversion -Wno-sign-conversion -ffp-contract=off>
  $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Wshadow,-Werror --Werror=all-warnings --extended-lambda -lineinfo>)
set(CMAKE_CXX_FLAGS_SANITIZED "-O1 -g1")  # build type of the sanitizer presets: quick to build, lines in reports
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")  # at -O1 GCC 12 sees overflows in its own std::string that are none
  target_compile_options(octet_flags INTERFACE
                         $<$<COMPILE_LANGUAGE:CXX>:-Wno-array-bounds -Wno-stringop-overflow -Wno-restrict>)
endif()
if(OCTET_SANITIZE)
  target_compile_options(octet_flags INTERFACE -fsanitize=${OCTET_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(octet_flags INTERFACE -fsanitize=${OCTET_SANITIZE})
endif()
if(OCTET_FUZZ)
  target_compile_options(octet_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# What a fault of memory meets: random addresses, read-only tables of functions, canaries, checked copies. Sanitizers have
# their own ways of that.
add_library(octet_hardening INTERFACE)
set(OCTET_HARDENED OFF)
if(NOT OCTET_SANITIZE AND NOT OCTET_FUZZ)
  set(OCTET_HARDENED ON)
  target_compile_options(octet_hardening INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-fPIE -fstack-protector-strong>
    $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<NOT:$<CONFIG:Debug>>>:-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2>)  # it needs -O
  target_link_options(octet_hardening INTERFACE -pie LINKER:-z,relro,-z,now,-z,noexecstack)
endif()

# octet_add_library(NAME libraries...): the target octet_NAME of every .cc in this folder, linked to `libraries`.
function(octet_add_library name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  add_library(octet_${name} STATIC ${sources})
  target_link_libraries(octet_${name} PUBLIC octet_flags octet_hardening ${ARGN})
endfunction()

# octet_is_not_hot(NAME HOT files... HEADERS headers...): a room whose work is a small part of a step: time to compile
# counts more than time to run, but in the HOT files, so its files are compiled eight together (OCTET_UNITY); HEADERS are what
# most of them include.
function(octet_is_not_hot name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "HOT;HEADERS")
  target_compile_options(octet_${name} PRIVATE $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<NOT:$<CONFIG:Debug>>>:-O1>)
  if(arg_HOT)
    set_source_files_properties(${arg_HOT} PROPERTIES COMPILE_OPTIONS $<$<CONFIG:Release>:-O3>
                                SKIP_PRECOMPILE_HEADERS ON)
  endif()
  target_precompile_headers(octet_${name} PRIVATE ${arg_HEADERS})
  octet_compile_together(octet_${name})
endfunction()

# octet_compile_together(TARGET): eight files at a time, so that headers and what they instantiate are compiled once. Names
# in unnamed namespaces must differ among the files of the target.
function(octet_compile_together target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${OCTET_UNITY} UNITY_BUILD_BATCH_SIZE 8)
endfunction()

# octet_add_test_program(NAME libraries...): one GoogleTest program, NAME_tests, of every *_test.cc in this folder.
function(octet_add_test_program name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_test.cc)
  add_executable(${name}_tests ${sources})
  target_link_libraries(${name}_tests PRIVATE octet_flags GTest::gmock GTest::gtest_main ${ARGN})
  target_compile_definitions(${name}_tests PRIVATE OCTET_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  target_compile_options(${name}_tests PRIVATE $<$<NOT:$<CONFIG:Debug>>:-O1>)  # compile time is most of what these cost
  target_precompile_headers(${name}_tests PRIVATE <gmock/gmock.h> <gtest/gtest.h> <fmt/format.h>)
endfunction()

# octet_add_tests(NAME libraries...): the same, each test known to ctest.
function(octet_add_tests name)
  octet_add_test_program(${name} ${ARGN})
  gtest_discover_tests(${name}_tests TEST_PREFIX ${name}. DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 120
    PROPERTIES LABELS ${name} ENVIRONMENT CUDA_VISIBLE_DEVICES=-1)  # on a machine with a GPU they test the cpu backend
endfunction()

# octet_add_fuzzer(NAME libraries...): the libFuzzer program NAME_fuzzer of NAME_fuzzer.cc in this folder.
function(octet_add_fuzzer name)
  add_executable(${name}_fuzzer ${name}_fuzzer.cc)
  target_link_libraries(${name}_fuzzer PRIVATE ${ARGN})
  target_link_options(${name}_fuzzer PRIVATE -fsanitize=fuzzer)
  add_dependencies(fuzzers ${name}_fuzzer)
endfunction()
