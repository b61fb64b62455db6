"""Pages and figures on what a model's units do; `open_model` is the way in."""


def __getattr__(name: str):
    # Opening a model imports torch and more; the command line's --help must not wait for that.
    if name == "open_model":
        from reports.opening import open_model

        return open_model
    if name == "Workbench":
        from reports.workbench import Workbench

        return Workbench
    raise AttributeError(f"module 'reports' has no attribute {name!r}")


__all__ = ["Workbench", "open_model"]
