# The package: by Slicer's own file where its source is at hand, else as that file makes it, which is one archive of
# what is installed with the extension's description.
if(MOCK_SLICER_SOURCE_DIR AND MOCK_CTK_SOURCE_DIR)
  include(SlicerExtensionCPack)
  return()
endif()

set(description "")
foreach(key HOMEPAGE CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS CATEGORY)
  if("${EXTENSION_${key}}" STREQUAL "")
    message(FATAL_ERROR "EXTENSION_${key} is not set")
  endif()
  string(TOLOWER ${key} name)
  string(APPEND description "${name} ${EXTENSION_${key}}\n")
endforeach()
file(WRITE "${CMAKE_BINARY_DIR}/${EXTENSION_NAME}.s4ext" "${description}")
install(FILES "${CMAKE_BINARY_DIR}/${EXTENSION_NAME}.s4ext" DESTINATION "${Slicer_SHARE_DIR}"
  COMPONENT RuntimeLibraries)
set(CPACK_GENERATOR "TGZ")
set(CPACK_MONOLITHIC_INSTALL ON)
set(CPACK_PACKAGE_FILE_NAME "${Slicer_REVISION}-${Slicer_OS}-${Slicer_ARCHITECTURE}-${EXTENSION_NAME}")
include(CPack)
