# The image docket on a machine without Rust, by any builder: docker build --file images/docket.Dockerfile --tag docket .
# scripts/images.sh packages a binary that is built already.
ARG RUST=1.94
FROM docker.io/library/rust:${RUST}-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends libprotobuf-dev protobuf-compiler python3
WORKDIR /source
COPY . .
# The selection of the Makefile: features are those that are tested.
RUN cargo build --release --locked --workspace --bin docket
RUN images/rootfs.sh /root-of-image target/release/docket /docket \
    && mkdir --parents /root-of-image/usr/share/doc/docket \
    && cp LICENSE /root-of-image/usr/share/doc/docket/ \
    && python3 images/sbom.py docket --crate agent-pod --root /root-of-image > /root-of-image/usr/share/doc/docket/sbom.json

FROM scratch
COPY --from=build /root-of-image /
USER 65532:65532
ENTRYPOINT ["/docket"]
