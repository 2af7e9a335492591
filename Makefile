# Two commands: `make demo` reconstructs the shipped measurements, `make test` runs the tests.
# Both first create .venv, once; PYTHON=... names another interpreter.
PYTHON ?= python3
BIN := .venv/bin
MEASUREMENTS := haadf thorax_lowdose

.PHONY: demo test

demo: .venv/ready
	@for name in $(MEASUREMENTS); do \
		$(BIN)/invreg reconstruct data/$$name.h5 --out out/$$name --force || exit; \
	done
	@for name in $(MEASUREMENTS); do \
		echo "$$name: picture $(CURDIR)/out/$$name/preview.png, report $(CURDIR)/out/$$name/report.html"; \
	done

test: .venv/ready
	$(BIN)/pytest -n auto

.venv/ready: Makefile pyproject.toml
	@command -v $(PYTHON) >/dev/null \
		|| { echo "invreg needs Python 3.11 or 3.12 and found no $(PYTHON): make PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit((3, 11) > sys.version_info[:2] or sys.version_info[:2] > (3, 12))' \
		|| { echo "invreg needs Python 3.11 or 3.12; $(PYTHON) is $$($(PYTHON) -V): make PYTHON=/path/to/python3.12"; exit 1; }
	@echo "Installing into .venv, this once; torch with its libraries is about 5 GB."
	@$(PYTHON) -m venv .venv \
		|| { echo "$(PYTHON) could not make .venv; on Debian and Ubuntu install the package python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install torch torchvision --editable '.[interop,files]' --group dev
	@touch $@
