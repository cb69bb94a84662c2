# SPDX-License-Identifier: Apache-2.0
# `cpack -G DEB`: the Debian package. Included at the end of the root CMakeLists.txt. Installing it starts nothing
# (config/deb/postinst says what it does), and removing it never touches staged data.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME czard)
# One package a release, of which the later one's is the newer: 0.1.0~deb12u1 < 0.1.0~deb13u1 < 0.1.0, which is what
# testing and unstable get.
set(version ${PROJECT_VERSION})
set(suite unstable)
if(EXISTS /etc/os-release)
  file(STRINGS /etc/os-release os_release)
  foreach(line ${os_release})
    if(line MATCHES "^VERSION_ID=\"?([0-9]+)")
      set(version "${PROJECT_VERSION}~deb${CMAKE_MATCH_1}u1")
    elseif(line MATCHES "^VERSION_CODENAME=\"?([a-z]+)")
      set(suite ${CMAKE_MATCH_1})
    endif()
  endforeach()
endif()
set(CPACK_PACKAGE_VERSION ${version})
set(CPACK_PACKAGE_VENDOR czard)
set(CPACK_PACKAGE_CONTACT "The czard developers <czard@example.org>")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "secure sync daemon for the edX data package")
set(CPACK_PACKAGE_DESCRIPTION
"czard keeps a partner institution's copy of the edX data package up to date:
it polls the partner S3 buckets, fetches what is new, verifies and decrypts
it, and leaves the plaintext in a locked-down staging directory, telling the
journal what it did.
.
The process that talks to the network never holds a key or a byte of
plaintext; the process that holds the key has no network.")

# The package is for /usr whatever prefix the build was configured with.
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE
                                                WORLD_READ WORLD_EXECUTE)
set(CPACK_STRIP_FILES ON)

set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# D-Bus: czarctl check and plan ask systemd as czard's user, and open the stored credentials by systemd-run.
set(CPACK_DEBIAN_PACKAGE_DEPENDS
    "gpg, gpg-agent, gpgconf, procps, systemd (>= 252), default-dbus-system-bus | dbus-system-bus")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "ca-certificates")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "bash-completion")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(deb ${CMAKE_CURRENT_SOURCE_DIR}/config/deb)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${deb}/postinst ${deb}/prerm ${deb}/postrm ${deb}/conffiles)

# What Debian wants in every package's documentation.
set(changelog ${CMAKE_CURRENT_BINARY_DIR}/changelog.gz)
configure_file(${deb}/changelog ${CMAKE_CURRENT_BINARY_DIR}/changelog.txt @ONLY)
add_custom_command(OUTPUT ${changelog} COMMAND ${GZIP} -9nc ${CMAKE_CURRENT_BINARY_DIR}/changelog.txt > ${changelog}
                   DEPENDS ${CMAKE_CURRENT_BINARY_DIR}/changelog.txt VERBATIM)
add_custom_target(changelog ALL DEPENDS ${changelog})
install(FILES ${changelog} ${deb}/copyright DESTINATION ${CMAKE_INSTALL_DOCDIR})
if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/README.md)
  install(FILES README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
endif()

include(CPack)
