# `make help` lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS ?= dev,http,train,dataset,lightning,plot,top
WITH ?=
JOBS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n < 8 ? n + 1 : 8))) # many tests wait more than they compute
ARGS ?=

PREFIX ?= $(HOME)/.local
INSTALLED := $(PREFIX)/share/forgather-spool/venv
COMMAND := $(PREFIX)/bin/forgather

MEASURED := tests/values tests/spool tests/host tests/story tests/data
HEART := forgather_spool/spool/*,forgather_spool/runner/*,forgather_spool/dispatcher/launch.py,forgather_spool/dispatcher/settle.py,forgather_spool/dispatcher/steps.py

.DELETE_ON_ERROR:
.PHONY: help install uninstall venv test test-long coverage lint format demo bench docs clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

install: ## install for you alone, in a virtual environment of its own (WITH=http,plot adds extras)
	$(PYTHON) -m venv $(INSTALLED)
	rm -rf build # setuptools would pack what was removed since
	$(INSTALLED)/bin/pip install -q --disable-pip-version-check --upgrade -c constraints.txt '.$(if $(WITH),[$(WITH)])'
	sed -i '1s|^#!.*/python[0-9.]*$$|& -S|' $(INSTALLED)/bin/forgather # pip dropped the option bin/forgather begins with
	mkdir -p $(dir $(COMMAND))
	ln -sfn $(INSTALLED)/bin/forgather $(COMMAND)
	ln -sfn $(INSTALLED)/bin/forgather-drop $(COMMAND)-drop
	@echo "installed $(INSTALLED), linked as $(COMMAND)"
	@case ":$$PATH:" in *":$(PREFIX)/bin:"*) ;; *) echo "not on your PATH yet: export PATH=$(PREFIX)/bin:\$$PATH";; esac

uninstall: ## remove what install made; your jobs and settings stay
	rm -rf $(INSTALLED) $(COMMAND) $(COMMAND)-drop
	rmdir $(dir $(INSTALLED)) 2>/dev/null || true

venv: $(VENV)/.made ## the developers' environment in .venv, made again when its recipe changes

$(VENV)/.made: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

test: venv ## every test that can run here (ARGS='-k words' picks some)
	@tests/packages
	$(BIN)/pytest -n $(JOBS) --dist worksteal -q -rs $(ARGS)

test-long: venv ## the same, with every error at every system call (an hour)
	@FORGATHER_LONG_TESTS=1 $(BIN)/pytest -n $(JOBS) --dist worksteal -q -rs $(ARGS)

# Tests of what a program imports or inherits fail while it is measured.
coverage: venv ## which branches the tests take, runners and dispatchers included (ARGS='tests/story' picks some)
	@rm -rf .coverage.d && mkdir .coverage.d
	-COVERAGE_FOLDER=$(CURDIR)/.coverage.d PYTHONPATH=$(CURDIR) $(BIN)/coverage run -m pytest -n $(JOBS) -q $(or $(ARGS),$(MEASURED))
	-@COVERAGE_FOLDER=.coverage.d $(BIN)/coverage combine -q # the files of killed programs are broken
	COVERAGE_FOLDER=.coverage.d $(BIN)/coverage report --include='$(HEART)'

lint: venv ## ruff, its formatter, mypy --strict
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict forgather_spool benchmarks

format: venv ## let ruff put things in order
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

demo: venv ## a guided tour, in a spool of its own
	PATH="$(CURDIR)/$(BIN):$$PATH" bash examples/demo.sh

bench: venv ## measure
	$(BIN)/python -m benchmarks $(ARGS)

docs: venv ## generate the reference from the code
	$(BIN)/python docs/generate.py

clean: ## remove what was built, the environment included
	rm -rf $(VENV) build dist *.egg-info .coverage.d .mypy_cache .pytest_cache .ruff_cache .hypothesis
