# Everything a newcomer needs is one word after `make`; `make` alone says which.

UV_VERSION := 0.13.8
CACHE      := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tidemark
UV         := $(or $(shell command -v uv),$(CACHE)/uv-$(UV_VERSION)/bin/uv)
ENV        := .venv/.complete
PYTHON     := .venv/bin/python
SOURCES    := $(wildcard dags dashboard helm jobs lake local streaming tests)
IMAGES     := app airflow kafka minio store postgres exporters
VERSION    := 0.1.0
BUILDER    ?= docker

.DEFAULT_GOAL := help
.PHONY: help doctor setup demo down status clean check format laws faults bench-batch bench-speed backfill test \
        images push kind forward cluster-test helm-readme

help: ## this text
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20
	@echo
	@echo '  Ports: TIDEMARK_PORT_KAFKA=29092 make demo (also _MINIO, _STORE, _AIRFLOW, _DASHBOARD, ...).'
	@echo '  State: .tidemark, or TIDEMARK_HOME. Tools: ~/.cache/tidemark, or XDG_CACHE_HOME.'

doctor: $(ENV) ## name what this machine lacks, and how to get it
	@$(PYTHON) -m local doctor

setup: $(ENV) ## fetch and build everything, once
	@$(PYTHON) -m local setup

demo: $(ENV) ## run the whole platform and show the merged answer and its proof; DOMAINS=all, or stocks,plates
	@$(PYTHON) -m local demo $(if $(DOMAINS),--domains $(DOMAINS))

down: $(ENV) ## stop everything; data stays
	@$(PYTHON) -m local down

status: $(ENV) ## what runs, its memory, addresses and logins
	@$(PYTHON) -m local status

clean: $(ENV) ## stop everything and remove its data
	@$(PYTHON) -m local clean

check: $(ENV) ## lint, format, types
	$(PYTHON) -m ruff check $(SOURCES)
	$(PYTHON) -m ruff format --check $(SOURCES)
	$(PYTHON) -m mypy $(filter-out tests helm,$(SOURCES))

format: $(ENV) ## format the code
	$(PYTHON) -m ruff check --fix $(SOURCES)
	$(PYTHON) -m ruff format $(SOURCES)

laws: setup ## the laws of every measure on every carrier, 100,000 examples each: about an hour
	LAWS_EXAMPLES=100000 $(PYTHON) -m pytest tests/laws

faults: setup ## 250 kills of broker, lander, speed job, runner and store, every answer meanwhile checked: 40 minutes
	FAULT_KILLS=250 $(PYTHON) -m pytest tests/faults/test_whole_path.py

bench-batch: setup ## what the batch layer costs, on this machine; BENCH="--parts slices --sizes 10000" a part
	$(PYTHON) -m tests.bench.bench_batch $(BENCH)

bench-speed: setup ## what the speed layer costs, beside others that do its work; BENCH="--parts catchup --arms ours,bare" a part
	$(PYTHON) -m tests.bench.bench_speed $(BENCH)

backfill: setup ## thirty past slices, backfilled by Airflow, are the table of thirty built in time order: half an hour
	$(PYTHON) -m pytest tests/dags/backfill_of_30.py

images: ## the chart's images; BUILDER=podman (or buildah), BASE=an image with Debian 12, BUILD_OPTIONS=...
	for image in $(IMAGES); do \
	  $(BUILDER) build $(BUILD_OPTIONS) $(if $(BASE),--build-arg BASE=$(BASE)) -f helm/images/Dockerfile --target $$image \
	    -t docker.io/tidemark/$$image:$(VERSION) . || exit 1; \
	done

push: ## push the images to where a cluster finds them; REGISTRY=registry.example.com, BUILDER=..., PUSH_OPTIONS=...
	@test -n "$(REGISTRY)" || { echo 'say where to: make push REGISTRY=registry.example.com' >&2; exit 1; }
	for image in $(IMAGES:%=tidemark/%:$(VERSION)); do \
	  $(BUILDER) tag docker.io/$$image $(REGISTRY)/$$image && $(BUILDER) push $(PUSH_OPTIONS) $(REGISTRY)/$$image || exit 1; \
	done

kind: $(ENV) images ## the small profile on a cluster of kind's, proven and opened; needs Docker, kind and kubectl
	kind get clusters | grep -qx tidemark || kind create cluster --name tidemark
	kind load docker-image --name tidemark $(IMAGES:%=docker.io/tidemark/%:$(VERSION))
	$(PYTHON) -m local.build_tool helm $(CACHE)/bin
	$(CACHE)/bin/helm --kube-context kind-tidemark upgrade --install tidemark helm/tidemark \
	  -f helm/tidemark/values-kind.yaml --wait --wait-for-jobs --timeout 25m \
	  || { $(PYTHON) -m local.explain_pods default; exit 1; }
	$(CACHE)/bin/helm --kube-context kind-tidemark test tidemark --timeout 25m
	$(MAKE) forward KUBECTL='kubectl --context kind-tidemark'

KUBECTL ?= kubectl
forward: ## dashboard and Airflow of the release `tidemark`, on this machine until Ctrl-C
	@echo 'Dashboard: http://127.0.0.1:8501'
	@echo "Airflow:   http://127.0.0.1:8080, user admin, password: $(KUBECTL) get secret tidemark-airflow -o jsonpath='{.data.admin-password}' | base64 -d"
	@echo 'Ctrl-C ends the forwarding; the release stays.'
	@trap 'kill 0' INT TERM EXIT; \
	  $(KUBECTL) port-forward service/tidemark-dashboard 8501 & \
	  $(KUBECTL) port-forward service/tidemark-api-server 8080 & wait

cluster-test: $(ENV) ## install on the cluster of KUBECONFIG, prove it, take a pod of each kind; its last line is JSON
	@test -n "$(KUBECONFIG)" || echo 'KUBECONFIG names no cluster: these tests will be skipped' >&2
	$(PYTHON) -m pytest tests/cluster $(PYTEST)

helm-readme: $(ENV) ## the table of values in the chart's README, from the comments of values.yaml
	$(PYTHON) helm/write_readme.py

test: setup ## all tests, against real servers of their own; PYTEST="-k name" picks some
	$(PYTHON) -m pytest $(PYTEST)

# Compiled once, or every process would compile what it imports where Python may write no bytecode.
$(ENV): pyproject.toml uv.lock | $(UV)
	@echo 'Python packages: uv sync (one to two minutes, once)'
	@$(UV) sync --quiet --frozen --all-extras --compile-bytecode
	@touch $@

# uv is one native binary, so the finished environment can be moved into its place as a whole.
$(CACHE)/uv-$(UV_VERSION)/bin/uv:
	@command -v python3 >/dev/null || { echo 'python3 is missing. Debian/Ubuntu: apt install python3 python3-venv; Fedora: dnf install python3; macOS: brew install python' >&2; exit 1; }
	@echo 'uv $(UV_VERSION): from PyPI, into $(CACHE)'
	@mkdir -p $(CACHE) && rm -rf $(CACHE)/.uv.building
	@python3 -m venv $(CACHE)/.uv.building || { echo 'python3 cannot make virtual environments. Debian/Ubuntu: apt install python3-venv' >&2; exit 1; }
	@$(CACHE)/.uv.building/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@mv $(CACHE)/.uv.building $(CACHE)/uv-$(UV_VERSION)
