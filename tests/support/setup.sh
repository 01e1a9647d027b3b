#!/bin/bash
# What the tests need besides an engine and images: a registry with its password file, certificates, an HTTP client,
# a browser for /docs, promtool for /metrics, schemathesis for /openapi.json, and all that writes tar for the archives.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
"$here/packages.sh" curl openssl docker-registry htpasswd:apache2-utils chromium chromedriver:chromium-driver \
    bsdtar:libarchive-tools busybox cpio pax python3 node:nodejs \
    /usr/share/nodejs/tar/package.json:node-tar /usr/share/nodejs/tar-stream/package.json:node-tar-stream
"$here/promtool.sh"
"$here/schemathesis.sh"
