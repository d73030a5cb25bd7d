# `make demo` and `make test` need nothing but Python 3.11 or newer and make: they build .venv by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
CONSTRAINTS := .ci/constraints.txt
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test coverage chaos lint bench reproduce-mini clean

help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

install: $(INSTALLED)  ## build the virtual environment with the tested set of packages

$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint $(CONSTRAINTS) --compile-bytecode --editable '.[mediapipe,dev]'
	@# Dependencies bring OpenCV builds that need a display's libraries; the headless one, put on top, does not.
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint $(CONSTRAINTS) --reinstall --no-deps --compile-bytecode opencv-python-headless
	@touch $@

# Half the steps of model=mini's fine-tune: for this person the same picture.
demo: $(INSTALLED)  ## fine-tune on a short clip of a rendered person and film them in new poses; no download, no GPU
	$(BIN)/python -m src.train subject=people_006 model=mini trainer.max_steps=60 run_dir=outputs/demo $(ARGS)
	$(BIN)/python -m eval.score run=outputs/demo output=outputs/demo/scores.json download=false \
	  metrics=[ssim,psnr,psnr-face,psnr-hands,lpips,mse-p-mini,fid,clip-i-mini,fvd,clip-t-mini]

# Each worker begins with one half and takes of the other's when it is done: what a file's tests share is made once.
test: $(INSTALLED)  ## run the tests
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

coverage: $(INSTALLED)  ## run the tests and say which lines of src/ and eval/ they reach: htmlcov/index.html
	$(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report=html --cov-report=term:skip-covered $(ARGS)

chaos: $(INSTALLED)  ## kill, starve and mislead every command, an hour, then film 2,000 frames: ARGS="kills=500 inputs=2000 seed=1 workers=2"
	$(BIN)/python -m tests.chaos $(ARGS)
	$(BIN)/python -m tests.chaos.long_video

lint: $(INSTALLED)  ## style and formatting (ruff), which room may use which (import-linter), types (pyright)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/pyright

bench: $(INSTALLED)  ## seconds and peak memory of Stable Diffusion 1.5 with random weights on what is there, and of scoring
	@# A GPU measures the full size; a CPU, in minutes, a quarter of the pixels and few frames (experiments/SPEED.md).
	@if $(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then \
	  $(BIN)/python -m src.bench model.dtype=bfloat16 num_target_frames=[25,100,400] frame_chunks=[auto,8] \
	    counted=[25,100,400] $(ARGS) && $(BIN)/python -m src.bench system=magicanimate model.dtype=bfloat16 $(ARGS); \
	else \
	  $(BIN)/python -m src.bench data.resolution=256 data.batch_frames=2 trainer.precision=32-true $(ARGS) && \
	  $(BIN)/python -m src.bench system=magicanimate data.resolution=256 model.dtype=bfloat16 $(ARGS); \
	fi
	$(BIN)/python -m src.bench system=disco $(ARGS)
	$(BIN)/python -m eval.bench

reproduce-mini: $(INSTALLED)  ## train the miniature models anew, hours on two cores; what was interrupted goes on
	for part in vae base keypoints clip; do $(BIN)/python -m src.pretrain part=$$part $(ARGS) || exit; done

clean:  ## remove the virtual environment and caches; data and outputs stay
	rm -rf $(VENV) .pytest_cache .ruff_cache build *.egg-info

.PHONY: eval-tiktok eval-ted eval-people

# What the other systems' published weights and DensePose are given by; a system whose weights are not given is left out.
MAGICANIMATE ?=
DISCO ?=
DISCO_CONFIGS ?=
OF_DISCO = method.weights=$(DISCO) method.configs=$(DISCO_CONFIGS)
# $(call others,benchmark): the rows of the other systems.
define others
$(if $(DISCO),$(BIN)/python -m eval.run benchmark=$(1) method=disco $(OF_DISCO) $(ARGS),@echo "DISCO= is not given: no rows of DisCo")
$(if $(MAGICANIMATE),$(BIN)/python -m eval.run benchmark=$(1) method=magicanimate model.vae=stabilityai/sd-vae-ft-mse method.weights=$(MAGICANIMATE) $(ARGS),@echo "MAGICANIMATE= is not given: no row of MagicAnimate")
$(if $(DISCO),$(BIN)/python -m eval.run benchmark=$(1) method=disco_ft $(OF_DISCO) $(ARGS))
endef

eval-tiktok: $(INSTALLED)  ## Table 1, all rows: MAGICANIMATE=<folder> DISCO=<file> DISCO_CONFIGS=<folder> ARGS="dataset.root=<DisCo's TSV files> dataset.condition_root=<folder>"
	$(call others,tiktok)
	$(BIN)/python -m eval.run -m benchmark=tiktok method=controlvideo,posecrafter $(ARGS)
	$(BIN)/python -m eval.run benchmark=tiktok num_frames=16 trainer.max_steps=500 $(ARGS)
	$(BIN)/python -m eval.run benchmark=tiktok num_frames=32 trainer.max_steps=1000 $(ARGS)
	$(BIN)/python -m eval.report results=outputs/eval/tiktok

eval-ted: $(INSTALLED)  ## Table 2, all rows: likewise, with ARGS="dataset.metadata=<CSV>" or ARGS="dataset.clips=<folder>"
	$(call others,ted)
	$(BIN)/python -m eval.run -m benchmark=ted method=controlvideo,posecrafter $(ARGS)
	$(BIN)/python -m eval.report results=outputs/eval/ted

eval-people: $(INSTALLED)  ## the same on rendered people with the miniature model and judges: no download, no GPU
	$(BIN)/python -m eval.run -m benchmark=people method=noise,controlvideo,posecrafter $(ARGS)
	$(BIN)/python -m eval.report results=outputs/eval/people

.PHONY: ablations gallery
ABLATIONS := $(patsubst experiments/%.yaml,%,$(wildcard experiments/ablation_*.yaml))

gallery: $(INSTALLED)  ## everything that can be done with poses, a picture and a video each; what is finished is kept
	$(BIN)/python -m src.gallery $(ARGS)

ablations: $(INSTALLED)  ## every ablation of the paper on rendered people, and its report; what is finished is not done again
	for name in $(ABLATIONS); do \
	  $(BIN)/python -m src.train -m experiment=$$name hydra.sweep.dir=outputs/ablations/$$name $(ARGS) || exit; \
	  $(BIN)/python -m eval.report sweep=outputs/ablations/$$name || exit; \
	done
