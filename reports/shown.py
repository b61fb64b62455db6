"""What all reports share: a page that shows itself in a notebook cell, and saves itself as one file."""

from pathlib import Path

from markupsafe import escape

from circuits.files import write_whole

#: of the frame in a notebook
HEIGHT = 900


class Shown:
    """Something with a page (``html``) and a ``title``, which names the frame to those who cannot see it."""

    html: str
    title: str

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{escape(self.html)}" title="{escape(self.title)}" sandbox="" '
            f'style="width:100%;height:{HEIGHT}px;border:1px solid #8884"></iframe>'
        )


class Saved(Shown):
    """One whose page is one file."""

    def save(self, path: str | Path) -> Path:
        """Write the page, whole or not at all.

        Raises:
            InputError: the place cannot be written.
        """
        with write_whole(path) as temporary:
            temporary.write_text(self.html, encoding="utf-8")
        return Path(path)
