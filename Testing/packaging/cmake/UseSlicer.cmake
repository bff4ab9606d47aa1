# What an extension's CMakeLists.txt may call after include(${Slicer_USE_FILE}): Slicer's and CTK's own macros where
# their sources are at hand, else macros of the same names.
set(EXTENSION_NAME "${PROJECT_NAME}")
set(EXTENSION_SUPERBUILD_BINARY_DIR "${CMAKE_BINARY_DIR}")
include(CTest)
if(MOCK_SLICER_SOURCE_DIR AND MOCK_CTK_SOURCE_DIR)
  include("${MOCK_DIR}/RealMacros.cmake")
else()
  include("${MOCK_DIR}/OwnMacros.cmake")
endif()
