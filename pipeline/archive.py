"""The site as one zip that opens without a network or a server: `python -m pipeline.archive`, after `make book`."""

import os
import sys
import zipfile
from pathlib import Path

from pipeline.errors import BookError

NO_DATE = (1980, 1, 1, 0, 0, 0)  # the same site gives the same zip, to the byte


def archive(site: Path, target: Path) -> None:
    """Pack a built site into `target`, all of it in one folder that is named as the zip; written whole or not at all.

    Raises:
        BookError: if there is no site.
    """
    if not (site / "index.html").is_file():
        raise BookError(f"{site} has no book; `make book` builds it")
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as packed:
            for path in sorted(path for path in site.rglob("*") if path.is_file()):
                member = zipfile.ZipInfo(f"{target.stem}/{path.relative_to(site).as_posix()}", NO_DATE)
                member.external_attr = 0o644 << 16
                packed.writestr(member, path.read_bytes(), zipfile.ZIP_DEFLATED)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def main() -> int:
    import clop_nb

    target = Path("_build", f"clop-nb-{clop_nb.__version__}.zip")
    try:
        archive(Path("_build", "html"), target)
    except BookError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{target}, {target.stat().st_size / 1e6:.1f} MB; open its index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
