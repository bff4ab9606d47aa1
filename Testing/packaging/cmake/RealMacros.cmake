# Slicer's and CTK's own files, and the few variables that a build of Slicer would have set for them.
list(PREPEND CMAKE_MODULE_PATH "${MOCK_DIR}" "${MOCK_SLICER_SOURCE_DIR}/CMake"
  "${MOCK_SLICER_SOURCE_DIR}/Extensions/CMake" "${MOCK_CTK_SOURCE_DIR}/CMake")
set(CTK_CMAKE_DIR "${MOCK_CTK_SOURCE_DIR}/CMake")
set(PYTHONINTERP_FOUND TRUE)
set(PYTHONLIBS_FOUND TRUE)
set(PYTHON_LIBRARIES "${PYTHON_EXECUTABLE}")
set(Slicer_PYTHON_MODULE_TEST_TEMPLATES_DIR "${MOCK_SLICER_SOURCE_DIR}/Base/QTCore/Testing/Python")
set(Slicer_ExternalData_DATA_MANAGEMENT_TARGET "${PROJECT_NAME}Data")
include(ExternalData)
foreach(file ctkMacroParseArguments ctkFunctionExtractOptimizedLibrary ctkMacroCompilePythonScript
    SlicerMacroConfigureGenericPythonModuleTests SlicerMacroPythonTesting SlicerMacroBuildScriptedModule)
  include(${file})
endforeach()
