"""Start Raftyard: the same command as `raftyard serve`."""
try:
    from raftyard.cli import main
except ModuleNotFoundError as missing:
    import sys
    print(f"Raftyard is not installed here ({missing}); run: python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/python run.py", file=sys.stderr)
    raise SystemExit(2) from None
if __name__ == "__main__":
    main()
