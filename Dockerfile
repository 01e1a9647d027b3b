# Two ways to build the same image, which contains one static binary and nothing else:
#   make image         the binary built on this machine; needs no network and no base image
#   docker build .     compiles inside, for amd64 or arm64 (docker buildx build --platform linux/amd64,linux/arm64 .)
# Both work with BuildKit and with the classic builder (Debian's engine). The classic builder runs every stage in the file,
# so `make image` cuts the file at the line below the first stage (tests/support/image.sh).

ARG RUST_IMAGE=rust:1-bookworm

FROM scratch AS runtime
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="oneoff-docker-runner" \
      org.opencontainers.image.description="Send one HTTP or MCP request, have a container run once, get back exactly what it printed, wrote and exited with" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# inside a container, loopback cannot be reached from outside
ENV HOST=0.0.0.0 PORT=8000
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=3s --start-period=5s --retries=3 CMD ["/oneoff-docker-runner", "healthcheck"]
# No USER: the engine's socket belongs to root and to a group whose number differs from host to host, so no fixed user
# could open it. If that group is known, run without root (the server writes nothing into the image):
#   docker run --user 65532:$(stat -c %g /var/run/docker.sock) ...
# Access to the socket equals root on the host either way; the user only limits what a flaw in the binary can do without
# the socket.
ENTRYPOINT ["/oneoff-docker-runner"]

# --- `make image` uses only the part above and adds its binary; the part below compiles the binary in the image ---

# the classic builder has no BUILDPLATFORM; "linux" alone means its own architecture
FROM --platform=${BUILDPLATFORM:-linux} ${RUST_IMAGE} AS compile
ARG TARGETARCH
WORKDIR /src
COPY . .
# crt-static on the gnu target gives a static binary; an explicit --target keeps it away from build scripts. A foreign
# architecture is cross-compiled, which is many times faster than emulating its compiler.
RUN set -eu; \
    own=$(dpkg --print-architecture); \
    case "${TARGETARCH:-$own}" in \
        amd64) triple=x86_64-unknown-linux-gnu; gcc=x86-64-linux-gnu; tool=x86_64-linux-gnu-gcc ;; \
        arm64) triple=aarch64-unknown-linux-gnu; gcc=aarch64-linux-gnu; tool=aarch64-linux-gnu-gcc ;; \
        *) echo "no recipe for architecture ${TARGETARCH:-$own}" >&2; exit 1 ;; \
    esac; \
    if [ "${TARGETARCH:-$own}" != "$own" ]; then \
        apt-get update; \
        apt-get install -y --no-install-recommends "gcc-$gcc" "libc6-dev-${TARGETARCH}-cross"; \
        rustup target add "$triple"; \
        name=$(echo "$triple" | tr 'a-z-' 'A-Z_'); \
        export "CARGO_TARGET_${name}_LINKER=$tool" "CC_$(echo "$triple" | tr - _)=$tool"; \
    fi; \
    RUSTFLAGS='-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs' \
        cargo build --release --locked --target "$triple" --target-dir /build --bin oneoff-docker-runner; \
    install -D "/build/$triple/release/oneoff-docker-runner" /out/oneoff-docker-runner

FROM runtime AS release
COPY --from=compile /out/oneoff-docker-runner /oneoff-docker-runner
