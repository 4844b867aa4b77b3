# Emberlog's image: one application, several roles (emberlog setup, worker, project, …), chosen by the command.
# Everything is installed from the hashed locks, as wheels; what builds does not reach the last stage.

FROM python:3.12-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 UV_LINK_MODE=copy UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never
WORKDIR /src
COPY locks/bootstrap.txt locks/build.txt locks/run.txt locks/
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes -r locks/bootstrap.txt -r locks/build.txt \
 && /opt/build/bin/uv venv --python "$(command -v python)" /opt/emberlog \
 && /opt/build/bin/uv pip install --python /opt/emberlog/bin/python --no-build --require-hashes --compile-bytecode -r locks/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY streams streams
COPY projections projections
COPY ops ops
RUN /opt/build/bin/hatchling build --target wheel --directory /tmp/dist \
 && /opt/build/bin/uv pip install --python /opt/emberlog/bin/python --no-deps --offline --compile-bytecode /tmp/dist/*.whl

FROM python:3.12-slim-bookworm
LABEL org.opencontainers.image.title="emberlog" \
      org.opencontainers.image.description="Memory for AI agents as an event-sourced stream" \
      org.opencontainers.image.licenses="Apache-2.0"
# No installer is left in the image, nor anything that could build.
RUN rm -rf /usr/local/lib/python3.12/ensurepip /usr/local/lib/python3.12/site-packages/* /usr/local/bin/pip* \
 && groupadd --system --gid 10001 emberlog \
 && useradd --system --uid 10001 --gid emberlog --home-dir /var/lib/emberlog --create-home --shell /usr/sbin/nologin emberlog
COPY --from=build /opt/emberlog /opt/emberlog
ENV PATH=/opt/emberlog/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    EMBERLOG_SERVICES=external \
    EMBERLOG_DATA_DIR=/var/lib/emberlog \
    EMBERLOG_LOG_FORMAT=json
USER 10001:10001
WORKDIR /var/lib/emberlog
VOLUME /var/lib/emberlog
# Broker, topics and database answer from inside this container.
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s --retries=3 CMD ["emberlog", "status"]
ENTRYPOINT ["emberlog"]
CMD ["--help"]
