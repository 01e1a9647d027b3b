#!/bin/bash
# What the tests need besides an engine and images: a registry with its password file, certificates, an HTTP client,
# a browser for the pages, axe-core for what keeps people from using them, promtool for /metrics, schemathesis for /openapi.json, all that writes tar for the archives, a clock
# that can be moved, small disks, and compose.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
"$here/packages.sh" curl openssl docker-registry htpasswd:apache2-utils chromium chromedriver:chromium-driver \
    bsdtar:libarchive-tools busybox:busybox-static cpio pax python3 node:nodejs \
    /usr/share/nodejs/tar/package.json:node-tar /usr/share/nodejs/tar-stream/package.json:node-tar-stream \
    faketime mke2fs:e2fsprogs docker-compose
"$here/promtool.sh"
"$here/axe.sh"
"$here/schemathesis.sh"
