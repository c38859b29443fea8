# syntax=docker/dockerfile:1

FROM python:3.11-slim AS build
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev
WORKDIR /src
COPY pyproject.toml constraints.txt hatch_build.py README.md LICENSE ./
COPY proxy proxy
# The core is compiled here: neither the compiler nor mypy is in the image. The libraries of the secret stores are:
# nobody can add them to an image that is read-only.
RUN SEALGATE_COMPILE=1 pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
 && python -m venv --without-pip /opt/sealgate \
 && pip --python /opt/sealgate/bin/python install --no-cache-dir -c constraints.txt "$(echo /wheels/*.whl)[vault,aws]" \
 && /opt/sealgate/bin/sealgate version | grep -F '(compiled core, '

FROM python:3.11-slim
COPY --from=build /opt/sealgate /opt/sealgate
ENV PATH="/opt/sealgate/bin:$PATH" PYTHONUNBUFFERED=1
# The number that distroless images call nonroot; nothing in the image belongs to it.
USER 65532:65532
# A path in the configuration that is not absolute is one beside it.
WORKDIR /etc/sealgate
# AMQP, and metrics with health. Both listen on 127.0.0.1 unless the configuration says 0.0.0.0.
EXPOSE 6672 9672
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["sealgate", "healthcheck", "--config", "/etc/sealgate/sealgate.toml"]
ENTRYPOINT ["sealgate"]
CMD ["run", "--config", "/etc/sealgate/sealgate.toml"]
