# The starter of a built Slicer; there is none to configure.
function(ctkAppLauncherConfigureForExecutable)
endfunction()
set(CTKAppLauncher_FOUND TRUE)
