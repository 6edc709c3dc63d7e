# One image for every service: `docker run <image> <service>...`. Settings come from the environment.

ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /source
COPY constraints.txt .
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv /build && /build/bin/pip install -c constraints.txt hatchling
COPY libs libs
COPY services services
# The image gets the packages and what they need, but neither pip nor the build tools.
RUN --mount=type=cache,target=/root/.cache/pip \
    /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels ./libs/* ./services/* \
    && python3 -m venv --without-pip /opt/kaa \
    && /build/bin/pip --python /opt/kaa/bin/python install -c constraints.txt /wheels/*.whl

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="kaa" \
      org.opencontainers.image.description="The services of an open Kaa IoT platform core" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 kaa \
    && useradd --uid 10001 --gid kaa --home-dir /var/lib/kaa --no-create-home --shell /usr/sbin/nologin kaa \
    && install --directory --owner kaa --group kaa --mode 700 /var/lib/kaa
COPY --from=build /opt/kaa /opt/kaa
ENV PATH=/opt/kaa/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    KAA_DATA_DIR=/var/lib/kaa \
    KAA_HTTP_HOST=0.0.0.0 \
    KAA_LOG_FORMAT=json \
    KPC_MQTT_HOST=0.0.0.0 \
    KPC_TLS_HOST=0.0.0.0
WORKDIR /var/lib/kaa
EXPOSE 8080 1883 8883
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
ENTRYPOINT ["kaa", "run"]
