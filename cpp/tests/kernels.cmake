# Real kernel code for tests and fuzzers: a shared object as the compiler makes it. Sets test_kernels to its path and
# makes a target of that name.
set(test_kernels ${CMAKE_BINARY_DIR}/cpp/tests/test_kernels.so)
if(NOT TARGET test_kernels)
  set(source ${CMAKE_CURRENT_LIST_DIR}/kernels.c)
  add_custom_command(
    OUTPUT ${test_kernels}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/cpp/tests
    COMMAND ${CMAKE_C_COMPILER} -O2 -fPIC -ffreestanding -fno-builtin -fno-stack-protector -shared -nostdlib
            -Wl,--strip-all -Wl,-z,noexecstack -o ${test_kernels} ${source}
    DEPENDS ${source}
    VERBATIM)
  add_custom_target(test_kernels DEPENDS ${test_kernels})
endif()
