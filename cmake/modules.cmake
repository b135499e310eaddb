# fettle_module(<folder> [LINK libs…]): one static library for each folder of src/fettle, so that the link line
# shows the floors and a change to one kernel rebuilds one object.
add_library(fettle_flags INTERFACE)
target_include_directories(fettle_flags INTERFACE ${PROJECT_SOURCE_DIR}/src)
target_compile_options(fettle_flags INTERFACE -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers -fno-math-errno
  -fstack-protector-strong $<$<CONFIG:Release>:-O2>)
# Strict IEEE arithmetic and no implicit FMA contraction in plain C++ code: the same source gives the same bits.
target_compile_options(fettle_flags INTERFACE -ffp-contract=off)
target_link_options(fettle_flags INTERFACE -Wl,-z,relro,-z,now)
target_link_libraries(fettle_flags INTERFACE OpenMP::OpenMP_CXX Threads::Threads fmt::fmt
                      nlohmann_json::nlohmann_json)
if(FETTLE_SANITIZE)
  target_compile_options(fettle_flags INTERFACE -fsanitize=${FETTLE_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(fettle_flags INTERFACE -fsanitize=${FETTLE_SANITIZE})
else()
  target_compile_definitions(fettle_flags INTERFACE $<$<CONFIG:Release>:_FORTIFY_SOURCE=2>)
endif()

# The one precompiled header: standard containers, fmt and JSON.
add_library(fettle_pch STATIC ${PROJECT_SOURCE_DIR}/cmake/pch.cpp)
target_link_libraries(fettle_pch PUBLIC fettle_flags)
target_precompile_headers(fettle_pch PUBLIC <algorithm> <cmath> <cstdint> <cstring> <functional> <map> <memory>
  <optional> <span> <string> <string_view> <unordered_map> <vector> <fmt/format.h> <nlohmann/json.hpp>)

function(fettle_module folder)
  cmake_parse_arguments(ARG "" "" "LINK" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/fettle/${folder}/*.cpp)
  list(FILTER sources EXCLUDE REGEX "/main\\.cpp$")
  if(NOT sources)
    return()
  endif()
  add_library(fettle_${folder} STATIC ${sources})
  target_link_libraries(fettle_${folder} PUBLIC fettle_flags ${ARG_LINK})
  target_precompile_headers(fettle_${folder} REUSE_FROM fettle_pch)
endfunction()
