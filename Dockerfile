# The image of `meshca serve` and `meshca agent`: nothing but Python, the locked libraries and meshca, no root.
#   docker build --tag meshca .
# Pin the base by digest where you build for production.
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements/runtime.txt requirements/installer.txt requirements/
RUN python -m venv /opt/meshca \
 && /opt/meshca/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY meshca meshca
RUN pip install --no-cache-dir --require-hashes -r requirements/installer.txt \
 && pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/meshca/bin/pip install --no-cache-dir --no-deps /wheels/meshca-*.whl

FROM python:3.13-slim
COPY --from=build /opt/meshca /opt/meshca
ENV PATH=/opt/meshca/bin:$PATH PYTHONDONTWRITEBYTECODE=1
# Any user id works, a fixed one included; group 0 owns nothing that must be written.
USER 65532:65532
ENTRYPOINT ["meshca"]
CMD ["--help"]
