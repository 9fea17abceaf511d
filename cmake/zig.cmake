# For wheels: zig's compiler (https://ziglang.org, on PyPI as ziglang), which links against the C library of any year,
# so that what is built here runs on systems from 2018 on. scripts/wheel.py sets the environment:
#   SANDERLING_ZIG    path of zig
#   SANDERLING_ARCH   x86_64 or aarch64
#   SANDERLING_GLIBC  oldest C library, 2.28
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR $ENV{SANDERLING_ARCH})
set(machine -target $ENV{SANDERLING_ARCH}-linux-gnu.$ENV{SANDERLING_GLIBC} -mcpu=baseline)
set(CMAKE_C_COMPILER $ENV{SANDERLING_ZIG} cc ${machine})
set(CMAKE_CXX_COMPILER $ENV{SANDERLING_ZIG} c++ ${machine})
set(CMAKE_EXE_LINKER_FLAGS_INIT -s)
set(CMAKE_SHARED_LINKER_FLAGS_INIT -s)
set(CMAKE_MODULE_LINKER_FLAGS_INIT -s)
set(CMAKE_STRIP "" CACHE FILEPATH "The linker does it; this machine's tool knows this machine's files only")
